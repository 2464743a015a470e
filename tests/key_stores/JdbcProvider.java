import com.microsoft.sqlserver.jdbc.SQLServerColumnEncryptionJavaKeyStoreProvider;
import java.util.HexFormat;
import java.util.Scanner;

/**
 * Microsoft's provider for Java key stores, called by itself. A line of standard input is an
 * operation, a key store, its password, an alias and bytes in hexadecimal (or a flag); each is
 * answered by a line of bytes in hexadecimal, of a word, or of why it was refused.
 */
public class JdbcProvider {
    public static void main(String[] arguments) {
        Scanner lines = new Scanner(System.in);
        while (lines.hasNextLine()) {
            String[] words = lines.nextLine().split(" ");
            try {
                System.out.println(answer(words));
            } catch (Exception e) {
                System.out.println("refused: " + String.valueOf(e.getMessage()).replace('\n', ' '));
            }
        }
    }

    private static String answer(String[] words) throws Exception {
        var provider = new SQLServerColumnEncryptionJavaKeyStoreProvider(words[1], words[2].toCharArray());
        HexFormat hex = HexFormat.of();
        String alias = words[3];
        switch (words[0]) {
            case "encrypt":
                return hex.formatHex(provider.encryptColumnEncryptionKey(alias, "RSA_OAEP", hex.parseHex(words[4])));
            case "decrypt":
                return hex.formatHex(provider.decryptColumnEncryptionKey(alias, "RSA_OAEP", hex.parseHex(words[4])));
            case "sign":
                byte[] signature = provider.signColumnMasterKeyMetadata(alias, words[4].equals("true"));
                return signature == null ? "null" : hex.formatHex(signature);
            case "verify":
                return String.valueOf(provider.verifyColumnMasterKeyMetadata(alias, words[4].equals("true"), hex.parseHex(words[5])));
            default:
                throw new IllegalArgumentException(words[0]);
        }
    }
}
