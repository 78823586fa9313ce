import java.util.Base64;

/** Arguments, five for each key: secret in base64, key id, tenant, channel, canonical address. */
public class Keys {
    public static void main(String[] given) throws Exception {
        for (int n = 0; n < given.length; n += 5) {
            byte[] secret = Base64.getDecoder().decode(given[n]);
            System.out.println(AddressKeys.of(secret, given[n + 1], given[n + 2], given[n + 3], given[n + 4]));
        }
    }
}
