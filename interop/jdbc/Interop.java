// Microsoft's JDBC driver in the matrix.
//
//   java -cp mssql-jdbc.jar:classes Interop write|read|search DIR CASES NAME
//
// NAME says the form of the statement: jdbc by a statement for each case, jdbc.prepared by one for all cases of a
// table, jdbc.batch by addBatch, jdbc.bulk by SQLServerBulkCopy, jdbc.procedure by calls of put_TABLE and, to read, of
// get_TABLE with an output parameter.

import com.microsoft.sqlserver.jdbc.ISQLServerBulkData;
import com.microsoft.sqlserver.jdbc.SQLServerBulkCopy;
import com.microsoft.sqlserver.jdbc.SQLServerBulkCopyOptions;
import com.microsoft.sqlserver.jdbc.SQLServerCallableStatement;
import com.microsoft.sqlserver.jdbc.SQLServerConnection;
import com.microsoft.sqlserver.jdbc.SQLServerPreparedStatement;
import com.microsoft.sqlserver.jdbc.SQLServerResultSet;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.CallableStatement;
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
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
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
            + ";databaseName=sandbox;user=" + user() + ";password=Interop-1433!;encrypt=false"
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

    private static String user() {
        return System.getenv().getOrDefault("INTEROP_USER", "sa");
    }

    private void connect() throws SQLException {
        if (connection != null) {
            connection.close();
        }
        connection = DriverManager.getConnection(url);
    }

    // How many rows go at once.
    interface Form {
        void write(List<Case> rows) throws Exception;
    }

    private void write() throws Exception {
        switch (name.substring(name.indexOf('.') + 1)) {
            case "prepared" -> byTable(this::writePrepared);
            case "batch" -> byTable(this::writeBatch);
            case "bulk" -> byTable(this::writeBulk);
            default -> writeEach();
        }
    }

    // All cases of a table at once, or one by one where that fails.
    private void byTable(Form form) throws Exception {
        List<Case> rows = new ArrayList<>();
        for (int i = 0; i < cases.size(); i++) {
            rows.add(cases.get(i));
            if (i + 1 == cases.size() || !cases.get(i + 1).table().equals(rows.get(0).table())) {
                if (attempt(form, rows) != null) {
                    for (Case c : rows) {
                        String failure = attempt(form, List.of(c));
                        line(name, c.table(), c.name(), failure == null ? "ok" : failure);
                    }
                } else {
                    for (Case c : rows) {
                        line(name, c.table(), c.name(), "ok");
                    }
                }
                rows.clear();
            }
        }
    }

    // All or nothing. Returns what went wrong.
    private String attempt(Form form, List<Case> rows) throws Exception {
        try {
            connection.setAutoCommit(false);
            form.write(rows);
            connection.commit();
            connection.setAutoCommit(true);
            return null;
        } catch (Exception e) {
            connect();
            return "FAIL " + oneLine(e);
        }
    }

    private boolean byProcedure() {
        return name.endsWith(".procedure");
    }

    private PreparedStatement prepare(Case c) throws SQLException {
        if (byProcedure()) {
            return connection.prepareCall("{call dbo.put_" + c.table() + "(?, ?, ?)}");
        }
        return connection.prepareStatement(
            "INSERT INTO dbo." + c.table() + " (w, n, v) VALUES (?, ?, ?)");
    }

    private void bindAll(PreparedStatement statement, Case c) throws Exception {
        statement.setNString(1, name);
        statement.setNString(2, c.name());
        bind((SQLServerPreparedStatement) statement, 3, c);
    }

    private void writePrepared(List<Case> rows) throws Exception {
        try (PreparedStatement statement = prepare(rows.get(0))) {
            for (Case c : rows) {
                bindAll(statement, c);
                statement.executeUpdate();
            }
        }
    }

    private void writeBatch(List<Case> rows) throws Exception {
        try (PreparedStatement statement = prepare(rows.get(0))) {
            for (Case c : rows) {
                bindAll(statement, c);
                statement.addBatch();
            }
            statement.executeBatch();
        }
    }

    private void writeBulk(List<Case> rows) throws Exception {
        SQLServerBulkCopyOptions options = new SQLServerBulkCopyOptions();
        options.setBulkCopyTimeout(60);
        try (SQLServerBulkCopy copy = new SQLServerBulkCopy(connection)) {
            copy.setBulkCopyOptions(options);
            copy.setDestinationTableName("dbo." + rows.get(0).table());
            copy.writeToServer(new Rows(name, rows));
        }
    }

    // What a bulk copy reads.
    private static final class Rows implements ISQLServerBulkData {
        private final String writer;
        private final List<Case> rows;
        private int at = -1;

        Rows(String writer, List<Case> rows) {
            this.writer = writer;
            this.rows = rows;
        }

        @Override
        public Set<Integer> getColumnOrdinals() {
            return new LinkedHashSet<>(List.of(1, 2, 3));
        }

        @Override
        public String getColumnName(int column) {
            return List.of("w", "n", "v").get(column - 1);
        }

        @Override
        public int getColumnType(int column) {
            return column == 3 ? javaType(rows.get(0)) : java.sql.Types.NVARCHAR;
        }

        @Override
        public int getPrecision(int column) {
            Case c = rows.get(0);
            return switch (column == 3 ? c.base() : "name") {
                case "name" -> 30;
                case "date", "datetime2", "time", "datetimeoffset" -> 0;
                case "money" -> 19;
                case "smallmoney" -> 10;
                default -> c.number(0);
            };
        }

        @Override
        public int getScale(int column) {
            Case c = rows.get(0);
            return switch (column == 3 ? c.base() : "name") {
                case "decimal", "numeric" -> c.number(1);
                case "datetime2", "time", "datetimeoffset" -> c.number(0);
                case "money", "smallmoney" -> 4;
                default -> 0;
            };
        }

        @Override
        public Object[] getRowData() {
            Case c = rows.get(at);
            return new Object[] {writer, c.name(), c.value() == null ? null : javaValue(c)};
        }

        @Override
        public boolean next() {
            return ++at < rows.size();
        }
    }

    private static int javaType(Case c) {
        return switch (c.base()) {
            case "bit" -> java.sql.Types.BIT;
            case "tinyint" -> java.sql.Types.TINYINT;
            case "smallint" -> java.sql.Types.SMALLINT;
            case "int" -> java.sql.Types.INTEGER;
            case "bigint" -> java.sql.Types.BIGINT;
            case "real" -> java.sql.Types.REAL;
            case "float" -> java.sql.Types.DOUBLE;
            case "decimal", "numeric" -> java.sql.Types.DECIMAL;
            case "money" -> microsoft.sql.Types.MONEY;
            case "smallmoney" -> microsoft.sql.Types.SMALLMONEY;
            case "date" -> java.sql.Types.DATE;
            case "time" -> java.sql.Types.TIME;
            case "datetime2" -> java.sql.Types.TIMESTAMP;
            case "datetimeoffset" -> microsoft.sql.Types.DATETIMEOFFSET;
            case "datetime" -> microsoft.sql.Types.DATETIME;
            case "smalldatetime" -> microsoft.sql.Types.SMALLDATETIME;
            case "char" -> java.sql.Types.CHAR;
            case "nchar" -> java.sql.Types.NCHAR;
            case "varchar" -> c.number(0) == 0 ? java.sql.Types.LONGVARCHAR : java.sql.Types.VARCHAR;
            case "nvarchar" ->
                c.number(0) == 0 ? java.sql.Types.LONGNVARCHAR : java.sql.Types.NVARCHAR;
            case "binary" -> java.sql.Types.BINARY;
            case "varbinary" ->
                c.number(0) == 0 ? java.sql.Types.LONGVARBINARY : java.sql.Types.VARBINARY;
            case "uniqueidentifier" -> microsoft.sql.Types.GUID;
            default -> throw new IllegalArgumentException("no such type: " + c.type());
        };
    }

    private static Object javaValue(Case c) {
        String v = c.value();
        return switch (c.base()) {
            case "bit" -> v.equals("1");
            case "tinyint", "smallint" -> Short.valueOf(v);
            case "int" -> Integer.valueOf(v);
            case "bigint" -> Long.valueOf(v);
            case "real" -> Float.intBitsToFloat(Integer.parseUnsignedInt(v, 16));
            case "float" -> Double.longBitsToDouble(Long.parseUnsignedLong(v, 16));
            case "decimal", "numeric", "money", "smallmoney" -> new BigDecimal(v);
            // Of the objects for these the driver makes NULL, without a word.
            case "date", "time", "datetime2", "datetimeoffset" -> v;
            case "datetime" -> Timestamp.valueOf(v);
            case "smalldatetime" -> Timestamp.valueOf(v + ":00");
            case "binary", "varbinary" -> bytes(v);
            case "uniqueidentifier" -> v;
            default -> string(v);
        };
    }

    private void writeEach() throws Exception {
        for (Case c : cases) {
            String outcome;
            try (PreparedStatement statement = prepare(c)) {
                bindAll(statement, c);
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
        if (byProcedure()) {
            readOutputs();
            return;
        }
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

    // What procedures wrote, by an output parameter.
    private void readOutputs() throws Exception {
        String last = "";
        for (Case c : cases) {
            if (c.table().equals(last)) {
                continue;
            }
            last = c.table();
            String names = "SELECT w, n FROM dbo." + last + " WHERE w LIKE N'%.procedure'";
            for (String[] row : rows(names, null)) {
                String value;
                try (CallableStatement statement =
                        connection.prepareCall("{call dbo.get_" + last + "(?, ?, ?)}")) {
                    SQLServerCallableStatement call = (SQLServerCallableStatement) statement;
                    call.setNString(1, row[0]);
                    call.setNString(2, row[1]);
                    register(call, 3, c);
                    call.execute();
                    value = output(call, 3, c);
                } catch (Exception e) {
                    value = "FAIL " + oneLine(e);
                    connect();
                }
                line(name, row[0], last, row[1], value);
            }
        }
    }

    // With the precision and scale of the column, as the driver wants them of encrypted ones.
    private static void register(SQLServerCallableStatement call, int i, Case c) throws Exception {
        int type = javaType(c);
        switch (c.base()) {
            case "decimal", "numeric" -> call.registerOutParameter(i, type, c.number(0), c.number(1));
            case "time", "datetime2", "datetimeoffset" -> call.registerOutParameter(i, type, c.number(0));
            case "char", "nchar", "varchar", "nvarchar", "binary", "varbinary" -> {
                if (c.number(0) == 0) {
                    call.registerOutParameter(i, type);
                } else {
                    call.registerOutParameter(i, type, c.number(0), 0);
                }
            }
            default -> call.registerOutParameter(i, type);
        }
    }

    private static String output(SQLServerCallableStatement call, int i, Case c) throws Exception {
        int scale = c.number(0);
        Object value = switch (c.base()) {
            case "bit" -> call.getBoolean(i) ? "1" : "0";
            case "tinyint", "smallint" -> call.getShort(i);
            case "int" -> call.getInt(i);
            case "bigint" -> call.getLong(i);
            case "real" -> String.format("%08x", Float.floatToRawIntBits(call.getFloat(i)));
            case "float" -> String.format("%016x", Double.doubleToRawLongBits(call.getDouble(i)));
            case "decimal", "numeric" -> call.getBigDecimal(i);
            case "money" -> call.getMoney(i);
            case "smallmoney" -> call.getSmallMoney(i);
            case "date" -> call.getObject(i, LocalDate.class);
            case "time" -> call.getObject(i, LocalTime.class);
            case "datetime2", "datetime", "smalldatetime" -> call.getObject(i, LocalDateTime.class);
            case "datetimeoffset" -> call.getDateTimeOffset(i);
            case "binary", "varbinary" -> call.getBytes(i);
            case "nchar", "nvarchar" -> call.getNString(i);
            case "char", "varchar", "uniqueidentifier" -> call.getString(i);
            default -> throw new IllegalArgumentException("no such type: " + c.type());
        };
        if (call.wasNull() || value == null) {
            return "NULL";
        }
        return switch (c.base()) {
            case "decimal", "numeric" -> ((BigDecimal) value).toPlainString();
            case "money", "smallmoney" -> ((BigDecimal) value).setScale(4).toPlainString();
            case "time" -> ((LocalTime) value).format(clock("HH:mm:ss", scale));
            case "datetime2" -> ((LocalDateTime) value).format(clock("uuuu-MM-dd HH:mm:ss", scale));
            case "datetime" -> ((LocalDateTime) value).format(clock("uuuu-MM-dd HH:mm:ss", 3));
            case "smalldatetime" -> ((LocalDateTime) value).format(clock("uuuu-MM-dd HH:mm", 0));
            case "datetimeoffset" -> offset((DateTimeOffset) value, scale);
            case "char", "varchar", "nchar", "nvarchar" -> hex((String) value);
            case "binary", "varbinary" -> "x:" + HexFormat.of().formatHex((byte[]) value);
            default -> value.toString().toLowerCase(Locale.ROOT);
        };
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
            case "datetimeoffset" -> offset(r.getDateTimeOffset(i), precision);
            case "datetime" ->
                r.getObject(i, LocalDateTime.class).format(clock("uuuu-MM-dd HH:mm:ss", 3));
            case "smalldatetime" ->
                r.getObject(i, LocalDateTime.class).format(clock("uuuu-MM-dd HH:mm", 0));
            case "char", "varchar", "nchar", "nvarchar" -> hex(r.getString(i));
            case "binary", "varbinary" -> "x:" + HexFormat.of().formatHex(r.getBytes(i));
            case "uniqueidentifier" -> r.getString(i).toLowerCase(Locale.ROOT);
            default -> throw new IllegalArgumentException("no such type: " + c.type());
        };
    }

    private static String offset(DateTimeOffset value, int scale) {
        return value.getOffsetDateTime().format(DateTimeFormatter.ofPattern(
            pattern("uuuu-MM-dd HH:mm:ss", scale) + " xxx", Locale.ROOT));
    }

    private static String hex(String text) {
        return "u:" + HexFormat.of().formatHex(text.getBytes(StandardCharsets.UTF_8));
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
