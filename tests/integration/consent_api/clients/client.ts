// What a tool in TypeScript does with generated types: sends the bodies of the README, and reads the answers.

import { randomUUID } from "node:crypto";
import createClient from "openapi-fetch";
import { check, decisions as decision, explain } from "./bodies.js"; // Typed: what the README sends has to fit.
import type { paths as gatePaths } from "./gate";
import type { components, paths } from "./relay";

const [api, key, gate] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${key}` };
const relay = createClient<paths>({ baseUrl: api, headers });

const submit = (sent: typeof decision) =>
  relay.POST("/v1/decisions", { body: sent, params: { header: { "Idempotency-Key": randomUUID() } } });
// @ts-expect-error The key is required: without it nothing compiles.
const unkeyed = () => relay.POST("/v1/decisions", { body: decision });

const recorded = (await submit(decision)).data!;
console.log(recorded.outcome, recorded.effect);
const known = await relay.GET("/v1/decisions/{decision_id}", {
  params: { path: { decision_id: recorded.decision_id } },
});
console.log(known.data!.status);

const explanation = (await relay.POST("/v1/explain", { body: explain })).data!;
console.log(explanation.verdict.permitted, explanation.verdict.reason);

const checked = await createClient<gatePaths>({ baseUrl: gate, headers }).POST("/v1/check", { body: check });
for (const each of checked.data!.results) console.log(each.index, each.reason);

const problem: components["schemas"]["Problem"] = (await submit({ ...decision, channel: "fax" })).error!;
console.log(problem.status, problem.errors![0].detail);
