import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.file.Path;
import java.util.UUID;
import relay.client.ApiClient;
import relay.client.ApiException;

/** What a tool in Java does with generated clients: sends the bodies of the README, and reads the answers. */
public final class Client {
    public static void main(String[] given) throws Exception {
        ApiClient client = new ApiClient();
        client.updateBaseUri(given[0]);
        client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + given[1]));
        gate.client.ApiClient gateClient = new gate.client.ApiClient();
        gateClient.updateBaseUri(given[2]);
        gateClient.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + given[1]));
        ObjectMapper sent = ApiClient.createDefaultObjectMapper();
        sent.enable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES);
        Path bodies = Path.of(given[3]);

        relay.api.DecisionsApi decisions = new relay.api.DecisionsApi(client);
        relay.model.SubmittedDecision[] submitted =
            sent.readValue(bodies.resolve("decisions.json").toFile(), relay.model.SubmittedDecision[].class);
        for (relay.model.SubmittedDecision decision : submitted) {
            relay.model.Recorded recorded = decisions.submitDecision(UUID.randomUUID().toString(), decision);
            System.out.println(recorded.getOutcome().getValue() + " " + recorded.getEffect().getValue() + " "
                + decisions.getDecision(recorded.getDecisionId()).getStatus().getValue());
        }
        for (relay.model.SubmittedBatch batch :
                sent.readValue(bodies.resolve("batch.json").toFile(), relay.model.SubmittedBatch[].class)) {
            for (relay.model.BatchResult each :
                    decisions.submitBatch(UUID.randomUUID().toString(), batch).getResults()) {
                boolean refused = each.getErrors() != null && !each.getErrors().isEmpty();
                System.out.println(each.getOutcome().getValue() + (refused ? " " + each.getErrors().get(0).getDetail() : ""));
            }
        }
        for (relay.model.LinksRequest wanted :
                sent.readValue(bodies.resolve("links.json").toFile(), relay.model.LinksRequest[].class)) {
            for (relay.model.PersonLinks each : new relay.api.LinksApi(client).createLinks(wanted).getLinks()) {
                String unsubscribe = each.getUnsubscribe().toString();
                System.out.println(unsubscribe.substring(0, unsubscribe.lastIndexOf('/') + 1) + " "
                    + each.getListUnsubscribePost());
            }
        }

        for (relay.model.ExplainRequest question :
                sent.readValue(bodies.resolve("explain.json").toFile(), relay.model.ExplainRequest[].class)) {
            relay.model.Explanation explanation = new relay.api.ExplainApi(client).explainAddress(question);
            System.out.println(
                explanation.getVerdict().getPermitted() + " " + explanation.getVerdict().getReason().getValue());
        }

        for (gate.model.CheckRequest check :
                sent.readValue(bodies.resolve("check.json").toFile(), gate.model.CheckRequest[].class)) {
            for (gate.model.Result each : new gate.api.CheckApi(gateClient).checkAddresses(check).getResults()) {
                System.out.println(each.getIndex() + " " + each.getReason().getValue());
            }
        }

        try {
            decisions.submitDecision(UUID.randomUUID().toString(), submitted[0].channel("fax"));
        } catch (ApiException refused) {
            relay.model.Problem problem = sent.readValue(refused.getResponseBody(), relay.model.Problem.class);
            System.out.println(problem.getStatus() + " " + problem.getErrors().get(0).getDetail());
        }
    }
}
