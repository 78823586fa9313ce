// What a tool in TypeScript does with generated types: sends the bodies of the README, and reads the answers.

import { randomUUID } from "node:crypto";
import createClient from "openapi-fetch";
import { batch, check, decisions, explain, links } from "./bodies.js"; // Typed: what the README sends has to fit.
import type { paths as gatePaths } from "./gate";
import type { components, paths } from "./relay";

const [api, key, gate] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${key}` };
const relay = createClient<paths>({ baseUrl: api, headers });

const keyed = () => ({ header: { "Idempotency-Key": randomUUID() } });
const submit = (sent: (typeof decisions)[number]) => relay.POST("/v1/decisions", { body: sent, params: keyed() });
// @ts-expect-error The key is required: without it nothing compiles.
const unkeyed = () => relay.POST("/v1/decisions", { body: decisions[0] });

for (const decision of decisions) {
  const recorded = (await submit(decision)).data!;
  const known = await relay.GET("/v1/decisions/{decision_id}", {
    params: { path: { decision_id: recorded.decision_id } },
  });
  console.log(recorded.outcome, recorded.effect, known.data!.status);
}
for (const body of batch) {
  const answered = (await relay.POST("/v1/decisions/batch", { body, params: keyed() })).data!;
  for (const each of answered.results) console.log([each.outcome, ...(each.errors ?? []).map((of) => of.detail)].join(" "));
}
for (const body of links) {
  const made = (await relay.POST("/v1/links", { body })).data!;
  for (const each of made.links) {
    console.log(each.unsubscribe!.replace(/[^/]*$/, ""), each.list_unsubscribe_post);
  }
}

for (const body of explain) {
  const { verdict } = (await relay.POST("/v1/explain", { body })).data!;
  console.log(verdict.permitted, verdict.reason);
}

const gateClient = createClient<gatePaths>({ baseUrl: gate, headers });
for (const body of check) {
  const checked = (await gateClient.POST("/v1/check", { body })).data!;
  for (const each of checked.results) console.log(each.index, each.reason);
}

const problem: components["schemas"]["Problem"] = (await submit({ ...decisions[0]!, channel: "fax" })).error!;
console.log(problem.status, problem.errors![0].detail);
