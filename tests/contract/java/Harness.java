import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.avro.Schema;

/** Arguments: schema, purpose, files of values. Prints a line for each file: what both ways of reading answer. */
public class Harness {
    public static void main(String[] arguments) throws Exception {
        Schema written = new Schema.Parser().parse(Files.readString(Path.of(arguments[0])));
        for (int n = 2; n < arguments.length; n++) {
            byte[] value = Files.readAllBytes(Path.of(arguments[n]));
            boolean generic = Entries.permitsGeneric(value, written, arguments[1]);
            System.out.println(generic + " " + Entries.permits(value, written, arguments[1]));
        }
    }
}
