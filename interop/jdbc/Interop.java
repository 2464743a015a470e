// Microsoft's JDBC driver in the matrix.
//
//   java -cp mssql-jdbc.jar:classes Interop write|read|search DIR CASES NAME

import com.microsoft.sqlserver.jdbc.SQLServerConnection;
import com.microsoft.sqlserver.jdbc.SQLServerPreparedStatement;
import com.microsoft.sqlserver.jdbc.SQLServerResultSet;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.OffsetDateTime;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import microsoft.sql.DateTimeOffset;

public final class Interop {
    record Case(String table, String type, String kind, String name, String value) {
        String base() {
            int at = type.indexOf('(');
            return at < 0 ? type : type.substring(0, at);
        }

        int number(int index) {
            int at = type.indexOf('(');
            if (at < 0) {
                return 0;
            }
            String[] numbers = type.substring(at + 1, type.length() - 1).split(",");
            return numbers[index].equals("max") ? 0 : Integer.parseInt(numbers[index]);
        }
    }

    private final String url;
    private final String name;
    private final List<Case> cases;
    private Connection connection;

    private Interop(Path dir, Path caseFile, String name) throws Exception {
        this.url = "jdbc:sqlserver://127.0.0.1:" + Files.readString(dir.resolve("port")).trim()
            + ";databaseName=sandbox;user=sa;password=Interop-1433!;encrypt=false"
            + ";trustServerCertificate=true;columnEncryptionSetting="
            + (off() ? "Disabled" : "Enabled") + ";sendTimeAsDatetime=false;keyStoreAuthentication=JavaKeyStorePassword;keyStoreLocation="
            + dir.resolve("cmk.p12") + ";keyStoreSecret="
            + Files.readString(dir.resolve("p12-password")).trim();
        this.name = name;
        this.cases = new ArrayList<>();
        for (String line : Files.readAllLines(caseFile)) {
            String[] f = line.split("\t", -1);
            cases.add(new Case(f[0], f[1], f[2], f[4], f[5].equals("NULL") ? null : f[5]));
        }
        connect();
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 4) {
            System.err.println("Interop write|read|search DIR CASES NAME");
            System.exit(2);
        }
        String trusted = System.getenv("INTEROP_TRUST");
        if (trusted != null) {
            SQLServerConnection.setColumnEncryptionTrustedMasterKeyPaths(
                Map.of("127.0.0.1:" + Files.readString(Path.of(arguments[1], "port")).trim(),
                    List.of(trusted)));
        }
        Interop program = new Interop(Path.of(arguments[1]), Path.of(arguments[2]), arguments[3]);
        switch (arguments[0]) {
            case "write" -> program.write();
            case "read" -> program.read();
            case "search" -> program.search();
            default -> throw new IllegalArgumentException("no such mode: " + arguments[0]);
        }
    }

    // For the negative matrix.
    private static boolean off() {
        return "off".equals(System.getenv("INTEROP_AE"));
    }

    private void connect() throws SQLException {
        if (connection != null) {
            connection.close();
        }
        connection = DriverManager.getConnection(url);
    }

    private void write() throws Exception {
        for (Case c : cases) {
            String outcome;
            String sql = "INSERT INTO dbo." + c.table() + " (w, n, v) VALUES (?, ?, ?)";
            try (PreparedStatement statement = connection.prepareStatement(sql)) {
                statement.setNString(1, name);
                statement.setNString(2, c.name());
                bind((SQLServerPreparedStatement) statement, 3, c);
                int rows = statement.executeUpdate();
                outcome = rows == 1 ? "ok" : "FAIL " + rows + " rows";
            } catch (Exception e) {
                outcome = "FAIL " + oneLine(e);
                connect();
            }
            line(name, c.table(), c.name(), outcome);
        }
    }

    private void search() throws Exception {
        for (Case c : cases) {
            if (!c.kind().equals("DETERMINISTIC") || c.value() == null) {
                continue;
            }
            String found;
            String sql = "SELECT w FROM dbo." + c.table() + " WHERE v = ? AND n = ? ORDER BY w";
            try (PreparedStatement statement = connection.prepareStatement(sql)) {
                bind((SQLServerPreparedStatement) statement, 1, c);
                statement.setNString(2, c.name());
                List<String> writers = new ArrayList<>();
                try (ResultSet rows = statement.executeQuery()) {
                    while (rows.next()) {
                        writers.add(rows.getString(1));
                    }
                }
                found = String.join(" ", writers);
            } catch (Exception e) {
                found = "FAIL " + oneLine(e);
                connect();
            }
            line(name, c.table(), c.name(), found);
        }
    }

    private void read() throws Exception {
        String last = "";
        for (Case c : cases) {
            if (c.table().equals(last)) {
                continue;
            }
            last = c.table();
            try {
                for (String[] row : rows("SELECT w, n, v FROM dbo." + last, c)) {
                    line(name, row[0], last, row[1], row[2]);
                }
            } catch (Exception e) {
                connect();
                readOneByOne(c);
            }
        }
    }

    // Finds the row whose cell cannot be read.
    private void readOneByOne(Case c) throws Exception {
        for (String[] row : rows("SELECT w, n FROM dbo." + c.table(), null)) {
            String one = "SELECT w, n, v FROM dbo." + c.table() + " WHERE w = N'" + row[0]
                + "' AND n = N'" + row[1] + "'";
            try {
                line(name, row[0], c.table(), row[1], rows(one, c).get(0)[2]);
            } catch (Exception e) {
                line(name, row[0], c.table(), row[1], "FAIL " + oneLine(e));
                connect();
            }
        }
    }

    private List<String[]> rows(String sql, Case c) throws Exception {
        List<String[]> rows = new ArrayList<>();
        try (Statement s = connection.createStatement(); ResultSet r = s.executeQuery(sql)) {
            while (r.next()) {
                String value = c == null ? "" : text((SQLServerResultSet) r, 3, c);
                rows.add(new String[] {r.getString(1), r.getString(2), value});
            }
        }
        return rows;
    }

    private static void bind(SQLServerPreparedStatement s, int i, Case c) throws Exception {
        String v = c.value();
        int precision = c.number(0);
        switch (c.base()) {
            case "bit" -> s.setObject(i, v == null ? null : v.equals("1"), java.sql.Types.BIT);
            case "tinyint" ->
                s.setObject(i, v == null ? null : Short.valueOf(v), java.sql.Types.TINYINT);
            case "smallint" ->
                s.setObject(i, v == null ? null : Short.valueOf(v), java.sql.Types.SMALLINT);
            case "int" ->
                s.setObject(i, v == null ? null : Integer.valueOf(v), java.sql.Types.INTEGER);
            case "bigint" ->
                s.setObject(i, v == null ? null : Long.valueOf(v), java.sql.Types.BIGINT);
            case "real" -> s.setObject(i, v == null ? null
                : Float.intBitsToFloat(Integer.parseUnsignedInt(v, 16)), java.sql.Types.REAL);
            case "float" -> s.setObject(i, v == null ? null
                : Double.longBitsToDouble(Long.parseUnsignedLong(v, 16)), java.sql.Types.DOUBLE);
            case "decimal", "numeric" ->
                s.setBigDecimal(i, v == null ? null : new BigDecimal(v), precision, c.number(1));
            case "money" -> s.setMoney(i, v == null ? null : new BigDecimal(v));
            case "smallmoney" -> s.setSmallMoney(i, v == null ? null : new BigDecimal(v));
            case "date" -> s.setDate(i, v == null ? null : java.sql.Date.valueOf(LocalDate.parse(v)));
            case "time" -> s.setObject(i, v == null ? null
                : Timestamp.valueOf("1970-01-01 " + v), java.sql.Types.TIME, precision);
            case "datetime2" -> s.setTimestamp(i, v == null ? null : Timestamp.valueOf(v), precision);
            case "datetimeoffset" -> s.setDateTimeOffset(i, v == null ? null
                : DateTimeOffset.valueOf(
                    OffsetDateTime.parse(v.replaceFirst(" ", "T").replace(" ", ""))), precision);
            case "datetime" -> s.setDateTime(i, v == null ? null : Timestamp.valueOf(v));
            case "smalldatetime" ->
                s.setSmallDateTime(i, v == null ? null : Timestamp.valueOf(v + ":00"));
            case "char" -> s.setObject(i, string(v), java.sql.Types.CHAR);
            case "nchar" -> s.setObject(i, string(v), java.sql.Types.NCHAR);
            case "varchar" -> s.setString(i, string(v));
            case "nvarchar" -> s.setNString(i, string(v));
            case "binary" -> s.setObject(i, bytes(v), java.sql.Types.BINARY);
            case "varbinary" -> s.setBytes(i, bytes(v));
            case "uniqueidentifier" -> s.setUniqueIdentifier(i, v);
            default -> throw new IllegalArgumentException("no such type: " + c.type());
        }
    }

    private static String text(SQLServerResultSet r, int i, Case c) throws Exception {
        if (r.getObject(i) == null) {
            return "NULL";
        }
        int precision = c.number(0);
        return switch (c.base()) {
            case "bit" -> r.getBoolean(i) ? "1" : "0";
            case "tinyint", "smallint", "int", "bigint" -> Long.toString(r.getLong(i));
            case "real" -> String.format("%08x", Float.floatToRawIntBits(r.getFloat(i)));
            case "float" -> String.format("%016x", Double.doubleToRawLongBits(r.getDouble(i)));
            case "decimal", "numeric" -> r.getBigDecimal(i).toPlainString();
            case "money", "smallmoney" -> r.getBigDecimal(i).setScale(4).toPlainString();
            case "date" -> r.getObject(i, LocalDate.class).toString();
            case "time" -> r.getObject(i, LocalTime.class).format(clock("HH:mm:ss", precision));
            case "datetime2" ->
                r.getObject(i, LocalDateTime.class).format(clock("uuuu-MM-dd HH:mm:ss", precision));
            case "datetimeoffset" -> {
                DateTimeOffset value = r.getDateTimeOffset(i);
                yield value.getOffsetDateTime().format(DateTimeFormatter.ofPattern(
                    pattern("uuuu-MM-dd HH:mm:ss", precision) + " xxx", Locale.ROOT));
            }
            case "datetime" ->
                r.getObject(i, LocalDateTime.class).format(clock("uuuu-MM-dd HH:mm:ss", 3));
            case "smalldatetime" ->
                r.getObject(i, LocalDateTime.class).format(clock("uuuu-MM-dd HH:mm", 0));
            case "char", "varchar", "nchar", "nvarchar" ->
                "u:" + HexFormat.of().formatHex(r.getString(i).getBytes(StandardCharsets.UTF_8));
            case "binary", "varbinary" -> "x:" + HexFormat.of().formatHex(r.getBytes(i));
            case "uniqueidentifier" -> r.getString(i).toLowerCase(Locale.ROOT);
            default -> throw new IllegalArgumentException("no such type: " + c.type());
        };
    }

    private static String pattern(String whole, int scale) {
        return scale == 0 ? whole : whole + "." + "S".repeat(scale);
    }

    private static DateTimeFormatter clock(String whole, int scale) {
        return DateTimeFormatter.ofPattern(pattern(whole, scale), Locale.ROOT);
    }

    private static String string(String v) {
        return v == null ? null
            : new String(HexFormat.of().parseHex(v.substring(2)), StandardCharsets.UTF_8);
    }

    private static byte[] bytes(String v) {
        return v == null ? null : HexFormat.of().parseHex(v.substring(2));
    }

    private static String oneLine(Exception e) {
        return String.valueOf(e.getMessage()).replaceAll("[\\t\\r\\n]+", " ");
    }

    private static void line(String... fields) {
        System.out.println(String.join("\t", fields));
    }
}
