import java.io.File;
import org.apache.avro.Schema;
import org.apache.avro.compiler.specific.SpecificCompiler;
import org.apache.avro.generic.GenericData;

/** Generates the classes of a schema, as the Maven plugin does with stringType String. */
public class Generate {
    public static void main(String[] arguments) throws Exception {
        SpecificCompiler compiler = new SpecificCompiler(new Schema.Parser().parse(new File(arguments[0])));
        compiler.setStringType(GenericData.StringType.String);
        compiler.compileToDestination(null, new File(arguments[1]));
    }
}
