/* Microsoft's ODBC driver in the matrix.

   interop write|read|search DIR CASES NAME, with KEYSTORE naming keystore.so and, for the bulk load,
   DRIVER the driver's library

   NAME says the form of the statement: odbc by SQLExecDirect, odbc.prepared by SQLPrepare and
   SQLExecute, odbc.bulk by bcp_sendrow, odbc.procedure by calls of put_TABLE and, to read, of get_TABLE
   with an output parameter. */

#include <ctype.h>
#include <dlfcn.h>
#include <sql.h>
#include <sqlext.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* From the driver's header, which its package for Python does not have. */
#define SQL_COPT_SS_BCP 1219
#define SQL_COPT_SS_CEKEYSTOREPROVIDER 1251
#define SQL_CA_SS_SERVER_TYPE 1235
#define SQL_SS_TYPE_SMALLDATETIME 1
#define SQL_SS_TYPE_DATETIME 2
#define SQL_SS_TYPE_MONEY 3
#define SQL_SS_TYPE_SMALLMONEY 4
#define SQL_SS_TIME2 (-154)
#define SQL_SS_TIMESTAMPOFFSET (-155)
#define SQL_C_SS_TIME2 0x4000
#define SQL_C_SS_TIMESTAMPOFFSET 0x4001

typedef struct {
    SQLUSMALLINT hour, minute, second;
    SQLUINTEGER fraction;
} Time2;

typedef struct {
    SQLSMALLINT year;
    SQLUSMALLINT month, day, hour, minute, second;
    SQLUINTEGER fraction;
    SQLSMALLINT zone_hour, zone_minute;
} TimestampOffset;

/* One line of the case file; value is NULL for NULL. */
typedef struct {
    char *table, *type, *kind, *name, *value;
    int first, second; /* the numbers in the type; 0 for max */
} Case;

#define BCP_IN 1
#define BCP_SUCCEED 1
/* The types that a bulk load has its values in: the tokens of MS-TDS. */
enum {
    BCP_CHARACTER = 0x2f,
    BCP_IMAGE = 0x22,
    BCP_NTEXT = 0x63,
    BCP_GUID = 0x24,
    BCP_DATE = 0x28,
    BCP_TIME = 0x29,
    BCP_DATETIME2 = 0x2a,
    BCP_DATETIMEOFFSET = 0x2b,
    BCP_TINYINT = 0x30,
    BCP_BIT = 0x32,
    BCP_SMALLINT = 0x34,
    BCP_INT = 0x38,
    BCP_REAL = 0x3b,
    BCP_FLOAT = 0x3e,
    BCP_NUMERIC = 0x6c,
    BCP_BIGINT = 0x7f,
    BCP_VARBINARY = 0xa5,
    BCP_NVARCHAR = 0xe7,
};

/* A value and what it is. */
typedef struct {
    union {
        unsigned char bit;
        unsigned char u8;
        SQLSMALLINT i16;
        SQLINTEGER i32;
        SQLBIGINT i64;
        float real;
        double number;
        SQL_NUMERIC_STRUCT numeric;
        SQL_DATE_STRUCT date;
        Time2 time;
        SQL_TIMESTAMP_STRUCT timestamp;
        TimestampOffset offset;
        SQLGUID guid;
    } v;
    unsigned char *data; /* text and bytes */
    SQLLEN length;
    SQLSMALLINT c_type, sql_type, digits;
    SQLULEN size;
    int server_type, bcp_type, bcp_length;
} Bound;

static SQLHENV environment;
static SQLHDBC connection;
static char connection_string[1024];
static int bulk_load;
static Case *cases;
static size_t case_count;

static void die(const char *message) {
    fprintf(stderr, "%s\n", message);
    exit(1);
}

static void *allocate(size_t size) {
    void *memory = calloc(1, size ? size : 1);
    if (!memory)
        die("no memory");
    return memory;
}

static char *read_file(const char *folder, const char *name) {
    char path[1024];
    snprintf(path, sizeof path, "%s%s%s", folder, *folder ? "/" : "", name);
    FILE *file = fopen(path, "rb");
    if (!file)
        die(path);
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    char *text = allocate((size_t)size + 1);
    if (fread(text, 1, (size_t)size, file) != (size_t)size)
        die(path);
    fclose(file);
    return text;
}

static void read_cases(const char *path) {
    char *text = read_file("", path), *line;
    for (char *c = text; *c; c++)
        case_count += *c == '\n';
    cases = allocate(case_count * sizeof *cases);
    for (size_t i = 0; i < case_count && (line = strsep(&text, "\n")); i++) {
        Case *c = &cases[i];
        c->table = strsep(&line, "\t");
        c->type = strsep(&line, "\t");
        c->kind = strsep(&line, "\t");
        strsep(&line, "\t");
        c->name = strsep(&line, "\t");
        c->value = strcmp(line, "NULL") ? line : NULL;
        char *numbers = strchr(c->type, '(');
        if (numbers)
            sscanf(numbers, "(%d,%d)", &c->first, &c->second);
        /* Goes as a decimal. */
        else if (strstr(c->type, "money"))
            c->first = strcmp(c->type, "money") ? 10 : 19, c->second = 4;
    }
}

static int is(const Case *c, const char *base) {
    size_t length = strlen(base);
    return !strncmp(c->type, base, length) && (c->type[length] == '(' || !c->type[length]);
}

/* What went wrong, on one line. */
static const char *diagnosis(SQLSMALLINT type, SQLHANDLE handle) {
    static char text[1200];
    SQLCHAR state[6] = "", message[1000] = "";
    SQLINTEGER native;
    SQLSMALLINT length;
    SQLGetDiagRec(type, handle, 1, state, &native, message, sizeof message, &length);
    snprintf(text, sizeof text, "[%s] %s", state, message);
    for (char *c = text; *c; c++)
        if (iscntrl((unsigned char)*c))
            *c = ' ';
    return text;
}

static void connect_anew(void) {
    if (connection) {
        SQLDisconnect(connection);
        SQLFreeHandle(SQL_HANDLE_DBC, connection);
    }
    SQLAllocHandle(SQL_HANDLE_DBC, environment, &connection);
    if (bulk_load)
        SQLSetConnectAttr(connection, SQL_COPT_SS_BCP, (SQLPOINTER)1, SQL_IS_INTEGER);
    if (!SQL_SUCCEEDED(SQLDriverConnect(connection, NULL, (SQLCHAR *)connection_string, SQL_NTS,
                                        NULL, 0, NULL, SQL_DRIVER_NOPROMPT)))
        die(diagnosis(SQL_HANDLE_DBC, connection));
    if (!SQL_SUCCEEDED(SQLSetConnectAttr(connection, SQL_COPT_SS_CEKEYSTOREPROVIDER,
                                         getenv("KEYSTORE"), SQL_NTS)))
        die(diagnosis(SQL_HANDLE_DBC, connection));
}

static int digit(char c) { return isdigit((unsigned char)c) ? c - '0' : tolower(c) - 'a' + 10; }

static unsigned char *unhex(const char *text, SQLLEN *length) {
    *length = (SQLLEN)strlen(text) / 2;
    unsigned char *bytes = allocate((size_t)*length + 2);
    for (SQLLEN i = 0; i < *length; i++)
        bytes[i] = (unsigned char)(digit(text[2 * i]) << 4 | digit(text[2 * i + 1]));
    return bytes;
}

static unsigned char *utf16(const char *hex, SQLLEN *length) {
    SQLLEN size, at = 0;
    unsigned char *utf8 = unhex(hex, &size);
    SQLWCHAR *units = allocate((size_t)size * 2 + 2);
    for (SQLLEN i = 0; i < size;) {
        uint32_t c = utf8[i];
        int more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
        c = more == 0 ? c : more == 1 ? c & 0x1f : more == 2 ? c & 0x0f : c & 0x07;
        for (i++; more-- > 0; i++)
            c = c << 6 | (utf8[i] & 0x3f);
        if (c >= 0x10000) {
            units[at++] = (SQLWCHAR)(0xd800 + ((c - 0x10000) >> 10));
            c = 0xdc00 + ((c - 0x10000) & 0x3ff);
        }
        units[at++] = (SQLWCHAR)c;
    }
    free(utf8);
    *length = at * 2;
    return (unsigned char *)units;
}

static void print_utf8(const SQLWCHAR *units, SQLLEN count) {
    fputs("u:", stdout);
    for (SQLLEN i = 0; i < count; i++) {
        uint32_t c = units[i];
        if (c >= 0xd800 && c < 0xdc00 && i + 1 < count)
            c = 0x10000 + ((c - 0xd800) << 10) + (units[++i] - 0xdc00u);
        if (c < 0x80)
            printf("%02x", c);
        else if (c < 0x800)
            printf("%02x%02x", 0xc0 | c >> 6, 0x80 | (c & 0x3f));
        else if (c < 0x10000)
            printf("%02x%02x%02x", 0xe0 | c >> 12, 0x80 | (c >> 6 & 0x3f), 0x80 | (c & 0x3f));
        else
            printf("%02x%02x%02x%02x", 0xf0 | c >> 18, 0x80 | (c >> 12 & 0x3f),
                   0x80 | (c >> 6 & 0x3f), 0x80 | (c & 0x3f));
    }
}

static void numeric(const Case *c, SQL_NUMERIC_STRUCT *out) {
    unsigned __int128 magnitude = 0;
    for (const char *d = c->value; *d; d++)
        if (isdigit((unsigned char)*d))
            magnitude = magnitude * 10 + (unsigned)(*d - '0');
    out->precision = (SQLCHAR)c->first;
    out->scale = (SQLSCHAR)c->second;
    out->sign = *c->value != '-';
    memcpy(out->val, &magnitude, sizeof out->val);
}

/* Nanoseconds. */
static SQLUINTEGER fraction(const char *text) {
    const char *point = strchr(text, '.');
    SQLUINTEGER value = 0, unit = 100000000;
    for (point = point ? point + 1 : ""; isdigit((unsigned char)*point); point++, unit /= 10)
        value += (SQLUINTEGER)(*point - '0') * unit;
    return value;
}

static SQL_TIMESTAMP_STRUCT timestamp(const char *text) {
    int y = 0, mo = 0, d = 0, h = 0, mi = 0, se = 0;
    sscanf(text, "%d-%d-%d %d:%d:%d", &y, &mo, &d, &h, &mi, &se);
    return (SQL_TIMESTAMP_STRUCT){
        (SQLSMALLINT)y,   (SQLUSMALLINT)mo, (SQLUSMALLINT)d, (SQLUSMALLINT)h,
        (SQLUSMALLINT)mi, (SQLUSMALLINT)se, fraction(text)};
}

static TimestampOffset timestamp_offset(const char *text) {
    SQL_TIMESTAMP_STRUCT t = timestamp(text);
    const char *zone = strrchr(text, ' ') + 1;
    int hours = 0, minutes = 0, sign = *zone == '-' ? -1 : 1;
    sscanf(zone + 1, "%d:%d", &hours, &minutes);
    return (TimestampOffset){t.year,     t.month,
                             t.day,      t.hour,
                             t.minute,   t.second,
                             t.fraction, (SQLSMALLINT)(sign * hours),
                             (SQLSMALLINT)(sign * minutes)};
}

static SQLGUID guid(const char *text) {
    SQLLEN length;
    SQLGUID out = {0};
    char bare[33] = "", *to = bare;
    for (const char *from = text; *from; from++)
        if (*from != '-' && to < bare + 32)
            *to++ = *from;
    unsigned char *g = unhex(bare, &length);
    if (length == 16) {
        out.Data1 = (uint32_t)g[0] << 24 | (uint32_t)g[1] << 16 | g[2] << 8 | g[3];
        out.Data2 = (unsigned short)(g[4] << 8 | g[5]);
        out.Data3 = (unsigned short)(g[6] << 8 | g[7]);
        memcpy(out.Data4, g + 8, 8);
    }
    free(g);
    return out;
}

static void convert_number(const Case *c, Bound *b) {
    const char *v = c->value ? c->value : "0";
    if (is(c, "bit")) {
        b->c_type = SQL_C_BIT, b->sql_type = SQL_BIT, b->v.bit = *v == '1';
        b->bcp_type = BCP_BIT, b->bcp_length = 1;
    } else if (is(c, "tinyint")) {
        b->c_type = SQL_C_UTINYINT, b->sql_type = SQL_TINYINT, b->v.u8 = (unsigned char)atoi(v);
        b->bcp_type = BCP_TINYINT, b->bcp_length = 1;
    } else if (is(c, "smallint")) {
        b->c_type = SQL_C_SSHORT, b->sql_type = SQL_SMALLINT, b->v.i16 = (SQLSMALLINT)atoi(v);
        b->bcp_type = BCP_SMALLINT, b->bcp_length = 2;
    } else if (is(c, "int")) {
        b->c_type = SQL_C_SLONG, b->sql_type = SQL_INTEGER, b->v.i32 = atoi(v);
        b->bcp_type = BCP_INT, b->bcp_length = 4;
    } else if (is(c, "bigint")) {
        b->c_type = SQL_C_SBIGINT, b->sql_type = SQL_BIGINT, b->v.i64 = strtoll(v, NULL, 10);
        b->bcp_type = BCP_BIGINT, b->bcp_length = 8;
    } else if (is(c, "real")) {
        uint32_t bits = (uint32_t)strtoul(v, NULL, 16);
        b->c_type = SQL_C_FLOAT, b->sql_type = SQL_REAL, memcpy(&b->v.real, &bits, 4);
        b->bcp_type = BCP_REAL, b->bcp_length = 4;
    } else if (is(c, "float")) {
        uint64_t bits = strtoull(v, NULL, 16);
        b->c_type = SQL_C_DOUBLE, b->sql_type = SQL_DOUBLE, memcpy(&b->v.number, &bits, 8);
        b->bcp_type = BCP_FLOAT, b->bcp_length = 8;
    } else if (is(c, "decimal") || is(c, "numeric") || strstr(c->type, "money")) {
        b->c_type = SQL_C_NUMERIC, b->sql_type = is(c, "numeric") ? SQL_NUMERIC : SQL_DECIMAL;
        b->server_type = is(c, "money")        ? SQL_SS_TYPE_MONEY
                         : is(c, "smallmoney") ? SQL_SS_TYPE_SMALLMONEY
                                               : 0;
        b->size = (SQLULEN)c->first, b->digits = (SQLSMALLINT)c->second;
        b->length = sizeof b->v.numeric;
        if (c->value)
            numeric(c, &b->v.numeric);
        b->bcp_type = BCP_NUMERIC, b->bcp_length = sizeof b->v.numeric;
    }
}

static void convert_time(const Case *c, Bound *b) {
    const char *v = c->value ? c->value : "1900-01-01 00:00:00 +00:00";
    SQLULEN decimals = c->first ? 1 + (SQLULEN)c->first : 0;
    b->digits = (SQLSMALLINT)c->first;
    SQL_TIMESTAMP_STRUCT t = timestamp(v);
    if (is(c, "date")) {
        b->c_type = SQL_C_TYPE_DATE, b->sql_type = SQL_TYPE_DATE, b->size = 10;
        b->v.date = (SQL_DATE_STRUCT){t.year, t.month, t.day};
        b->bcp_type = BCP_DATE, b->bcp_length = sizeof b->v.date;
    } else if (is(c, "time")) {
        int h = 0, mi = 0, se = 0;
        sscanf(v, "%d:%d:%d", &h, &mi, &se);
        b->c_type = SQL_C_SS_TIME2, b->sql_type = SQL_SS_TIME2, b->size = 8 + decimals;
        b->length = sizeof b->v.time;
        b->v.time = (Time2){(SQLUSMALLINT)h, (SQLUSMALLINT)mi, (SQLUSMALLINT)se, fraction(v)};
        b->bcp_type = BCP_TIME, b->bcp_length = sizeof b->v.time;
    } else if (is(c, "datetime2")) {
        b->c_type = SQL_C_TYPE_TIMESTAMP, b->sql_type = SQL_TYPE_TIMESTAMP, b->size = 19 + decimals;
        b->v.timestamp = t;
        b->bcp_type = BCP_DATETIME2, b->bcp_length = sizeof b->v.timestamp;
    } else if (is(c, "datetimeoffset")) {
        b->c_type = SQL_C_SS_TIMESTAMPOFFSET, b->sql_type = SQL_SS_TIMESTAMPOFFSET;
        b->size = 26 + decimals, b->length = sizeof b->v.offset;
        b->v.offset = timestamp_offset(v);
        b->bcp_type = BCP_DATETIMEOFFSET, b->bcp_length = sizeof b->v.offset;
    } else if (is(c, "datetime") || is(c, "smalldatetime")) {
        int small = is(c, "smalldatetime");
        b->c_type = SQL_C_TYPE_TIMESTAMP, b->sql_type = SQL_TYPE_TIMESTAMP;
        b->size = small ? 16 : 23, b->digits = small ? 0 : 3;
        b->server_type = small ? SQL_SS_TYPE_SMALLDATETIME : SQL_SS_TYPE_DATETIME;
        b->v.timestamp = t;
        b->bcp_type = BCP_DATETIME2, b->bcp_length = sizeof b->v.timestamp;
    }
}

static void convert_text(const Case *c, Bound *b) {
    if (is(c, "nchar") || is(c, "nvarchar") || is(c, "char") || is(c, "varchar")) {
        b->c_type = SQL_C_WCHAR;
        b->sql_type = is(c, "nchar")      ? SQL_WCHAR
                      : is(c, "nvarchar") ? SQL_WVARCHAR
                      : is(c, "char")     ? SQL_CHAR
                                          : SQL_VARCHAR;
        b->data = c->value ? utf16(c->value + 2, &b->length) : NULL;
        b->bcp_type = c->first ? BCP_NVARCHAR : BCP_NTEXT;
    } else if (is(c, "binary") || is(c, "varbinary")) {
        b->c_type = SQL_C_BINARY, b->sql_type = is(c, "binary") ? SQL_BINARY : SQL_VARBINARY;
        b->data = c->value ? unhex(c->value + 2, &b->length) : NULL;
        b->bcp_type = c->first ? BCP_VARBINARY : BCP_IMAGE;
    } else {
        return;
    }
    b->size = (SQLULEN)c->first, b->bcp_length = (int)b->length;
}

/* The value of a case. */
static void convert(const Case *c, Bound *b) {
    memset(b, 0, sizeof *b);
    convert_number(c, b);
    if (!b->bcp_type)
        convert_time(c, b);
    if (!b->bcp_type)
        convert_text(c, b);
    if (is(c, "uniqueidentifier")) {
        b->c_type = SQL_C_GUID, b->sql_type = SQL_GUID, b->length = sizeof b->v.guid;
        b->v.guid = guid(c->value ? c->value : "");
        b->bcp_type = BCP_GUID, b->bcp_length = sizeof b->v.guid;
    }
}

static const char *say_server_type(SQLHSTMT s, SQLUSMALLINT n, const Bound *b) {
    if (b->server_type) {
        SQLHDESC ipd;
        SQLGetStmtAttr(s, SQL_ATTR_IMP_PARAM_DESC, &ipd, 0, NULL);
        SQLRETURN r = SQLSetDescField(ipd, (SQLSMALLINT)n, SQL_CA_SS_SERVER_TYPE,
                                      (SQLPOINTER)(intptr_t)b->server_type, SQL_IS_INTEGER);
        if (!SQL_SUCCEEDED(r))
            return diagnosis(SQL_HANDLE_DESC, ipd);
    }
    return NULL;
}

/* Binds the value of a case as parameter `n`. Returns why it cannot be, or NULL. */
static const char *bind(SQLHSTMT s, SQLUSMALLINT n, const Case *c, Bound *b) {
    convert(c, b);
    SQLLEN room = b->length;
    void *data = b->data ? b->data : (unsigned char *)&b->v;
    if (!c->value)
        b->length = SQL_NULL_DATA;
    SQLRETURN r = SQLBindParameter(s, n, SQL_PARAM_INPUT, b->c_type, b->sql_type, b->size, b->digits,
                                   data, room, &b->length);
    if (!SQL_SUCCEEDED(r))
        return diagnosis(SQL_HANDLE_STMT, s);
    if (b->c_type == SQL_C_NUMERIC) {
        SQLHDESC apd;
        SQLGetStmtAttr(s, SQL_ATTR_APP_PARAM_DESC, &apd, 0, NULL);
        SQLSetDescField(apd, (SQLSMALLINT)n, SQL_DESC_TYPE, (SQLPOINTER)SQL_C_NUMERIC, 0);
        SQLSetDescField(apd, (SQLSMALLINT)n, SQL_DESC_PRECISION, (SQLPOINTER)(intptr_t)c->first, 0);
        SQLSetDescField(apd, (SQLSMALLINT)n, SQL_DESC_SCALE, (SQLPOINTER)(intptr_t)c->second, 0);
        SQLSetDescField(apd, (SQLSMALLINT)n, SQL_DESC_DATA_PTR, data, 0);
    }
    return say_server_type(s, n, b);
}

static void bind_name(SQLHSTMT s, SQLUSMALLINT n, const char *name) {
    SQLBindParameter(s, n, SQL_PARAM_INPUT, SQL_C_CHAR, SQL_WVARCHAR, 30, 0, (void *)name, 0, NULL);
}

static void outcome(const char *name, const Case *c, const char *word, const char *detail) {
    printf("%s\t%s\t%s\t%s%s%s\n", name, c->table, c->name, word, *detail ? " " : "", detail);
}

/* A statement handle that is fit for `c`: a prepared one serves all cases of its table. */
static SQLHSTMT statement(SQLHSTMT s, const Case *c, const Case *last, const char *sql, int prepared) {
    if (s && prepared && last && !strcmp(c->table, last->table))
        return s;
    if (s)
        SQLFreeHandle(SQL_HANDLE_STMT, s);
    SQLAllocHandle(SQL_HANDLE_STMT, connection, &s);
    if (prepared)
        SQLPrepare(s, (SQLCHAR *)sql, SQL_NTS);
    return s;
}

static SQLRETURN execute(SQLHSTMT s, const char *sql, int prepared) {
    return prepared ? SQLExecute(s) : SQLExecDirect(s, (SQLCHAR *)sql, SQL_NTS);
}

static void write_all(const char *name, int prepared, int procedure) {
    SQLHSTMT s = NULL;
    const Case *last = NULL;
    for (size_t i = 0; i < case_count; i++) {
        const Case *c = &cases[i];
        Bound b;
        char sql[256];
        const char *form = procedure ? "{call dbo.put_%s(?, ?, ?)}"
                                     : "INSERT INTO dbo.%s (w, n, v) VALUES (?, ?, ?)";
        snprintf(sql, sizeof sql, form, c->table);
        s = statement(s, c, last, sql, prepared);
        last = c;
        bind_name(s, 1, name);
        bind_name(s, 2, c->name);
        const char *problem = bind(s, 3, c, &b);
        if (problem) {
            outcome(name, c, "skip", problem);
        } else if (SQL_SUCCEEDED(execute(s, sql, prepared))) {
            outcome(name, c, "ok", "");
        } else {
            outcome(name, c, "FAIL", diagnosis(SQL_HANDLE_STMT, s));
            SQLFreeHandle(SQL_HANDLE_STMT, s);
            s = NULL;
            connect_anew();
        }
        free(b.data);
    }
}

/* A bulk load, by functions that the driver manager does not have. */
typedef struct {
    SQLRETURN (*init)(SQLHDBC, const char *table, const char *file, const char *errors, int direction);
    SQLRETURN (*bind)(SQLHDBC, const void *data, int indicator, int length, const void *end,
                      int end_length, int type, int column);
    SQLRETURN (*send_row)(SQLHDBC);
    int (*done)(SQLHDBC);
} Bulk;

static void *function(void *library, const char *name) {
    void *found = dlsym(library, name);
    if (!found)
        die(name);
    return found;
}

static Bulk load_bulk(void) {
    void *library = dlopen(getenv("DRIVER"), RTLD_NOW);
    if (!library)
        die(dlerror());
    Bulk bulk;
    *(void **)&bulk.init = function(library, "bcp_initA");
    *(void **)&bulk.bind = function(library, "bcp_bind");
    *(void **)&bulk.send_row = function(library, "bcp_sendrow");
    *(void **)&bulk.done = function(library, "bcp_done");
    return bulk;
}

static int bulk_bind(const Bulk *bulk, int column, const void *data, SQLLEN length, int type) {
    return bulk->bind(connection, data, 0, (int)length, NULL, 0, type, column) == BCP_SUCCEED;
}

static int send_case(const Bulk *bulk, const char *name, const Case *c) {
    Bound b;
    convert(c, &b);
    SQLLEN length = c->value ? b.bcp_length : SQL_NULL_DATA;
    const void *data = b.data ? (void *)b.data : (void *)&b.v;
    int sent = bulk_bind(bulk, 1, name, (SQLLEN)strlen(name), BCP_CHARACTER) &&
               bulk_bind(bulk, 2, c->name, (SQLLEN)strlen(c->name), BCP_CHARACTER) &&
               bulk_bind(bulk, 3, data, length, b.bcp_type) &&
               bulk->send_row(connection) == BCP_SUCCEED;
    free(b.data);
    return sent;
}

/* One load for each table, so that an error is that of all its cases. */
static void load_all(const char *name) {
    Bulk bulk = load_bulk();
    for (size_t i = 0, next; i < case_count; i = next) {
        char table[128], problem[1200] = "";
        snprintf(table, sizeof table, "dbo.%s", cases[i].table);
        int sent = bulk.init(connection, table, NULL, NULL, BCP_IN) == BCP_SUCCEED;
        for (next = i; next < case_count && !strcmp(cases[next].table, cases[i].table); next++)
            sent = sent && send_case(&bulk, name, &cases[next]);
        if (!sent)
            snprintf(problem, sizeof problem, "%s", diagnosis(SQL_HANDLE_DBC, connection));
        int done = bulk.done(connection);
        if (sent && done != (int)(next - i))
            snprintf(problem, sizeof problem, "%d rows: %s", done, diagnosis(SQL_HANDLE_DBC, connection));
        for (size_t at = i; at < next; at++)
            outcome(name, &cases[at], *problem ? "FAIL" : "ok", problem);
        if (*problem)
            connect_anew();
    }
}

static void search_all(const char *name, int prepared) {
    SQLHSTMT s = NULL;
    const Case *last = NULL;
    for (size_t i = 0; i < case_count; i++) {
        const Case *c = &cases[i];
        if (!c->value || strcmp(c->kind, "DETERMINISTIC"))
            continue;
        Bound b;
        char sql[256], writer[64];
        SQLLEN length;
        snprintf(sql, sizeof sql, "SELECT w FROM dbo.%s WHERE v = ? AND n = ? ORDER BY w", c->table);
        s = statement(s, c, last, sql, prepared);
        last = c;
        if (!bind(s, 1, c, &b)) {
            bind_name(s, 2, c->name);
            printf("%s\t%s\t%s\t", name, c->table, c->name);
            if (SQL_SUCCEEDED(execute(s, sql, prepared))) {
                for (const char *gap = ""; SQL_SUCCEEDED(SQLFetch(s)); gap = " ") {
                    SQLGetData(s, 1, SQL_C_CHAR, writer, sizeof writer, &length);
                    printf("%s%s", gap, writer);
                }
                SQLFreeStmt(s, SQL_CLOSE);
            } else {
                printf("FAIL %s", diagnosis(SQL_HANDLE_STMT, s));
                SQLFreeHandle(SQL_HANDLE_STMT, s);
                s = NULL;
                connect_anew();
            }
            puts("");
        }
        free(b.data);
    }
}

static int is_text(const Case *c) {
    return is(c, "char") || is(c, "varchar") || is(c, "nchar") || is(c, "nvarchar");
}

/* As what the values of a column are read. */
static SQLSMALLINT read_as(const Case *c) {
    return is_text(c)                               ? SQL_C_WCHAR
           : is(c, "binary") || is(c, "varbinary") ? SQL_C_BINARY
           : is(c, "real")                          ? SQL_C_FLOAT
           : is(c, "float")                         ? SQL_C_DOUBLE
                                                    : SQL_C_CHAR;
}

static unsigned char fetched[200000];

/* Prints what is in `fetched`. */
static void print_data(const Case *c, SQLLEN length) {
    SQLSMALLINT type = read_as(c);
    if (length == SQL_NULL_DATA) {
        fputs("NULL", stdout);
    } else if (type == SQL_C_WCHAR) {
        print_utf8((SQLWCHAR *)fetched, length / 2);
    } else if (type == SQL_C_BINARY) {
        fputs("x:", stdout);
        for (SQLLEN i = 0; i < length; i++)
            printf("%02x", fetched[i]);
    } else if (type == SQL_C_FLOAT) {
        uint32_t bits;
        memcpy(&bits, fetched, 4);
        printf("%08x", bits);
    } else if (type == SQL_C_DOUBLE) {
        uint64_t bits;
        memcpy(&bits, fetched, 8);
        printf("%016llx", (unsigned long long)bits);
    } else {
        char *text = (char *)fetched;
        for (char *at = text; *at; at++)
            *at = (char)tolower(*at);
        if (is(c, "smalldatetime"))
            text[strlen("2024-03-15 13:14")] = 0;
        /* ODBC leaves out the zero before the point. */
        int minus = *text == '-';
        printf("%s%s%s", minus ? "-" : "", text[minus] == '.' ? "0" : "", text + minus);
    }
}

/* Prints column 3 of the current row. */
static void print_value(SQLHSTMT s, const Case *c) {
    SQLLEN length = 0;
    if (SQL_SUCCEEDED(SQLGetData(s, 3, read_as(c), fetched, sizeof fetched, &length)))
        print_data(c, length);
    else
        printf("FAIL %s", diagnosis(SQL_HANDLE_STMT, s));
}

/* Prints the rows of a writer, or of them the one that is named. */
static void read_rows(const char *name, const Case *c, const char *writer, const char *row) {
    SQLHSTMT s;
    char sql[512], w[64], n[64];
    SQLLEN length;
    SQLAllocHandle(SQL_HANDLE_STMT, connection, &s);
    int at = snprintf(sql, sizeof sql, "SELECT w, n, v FROM dbo.%s WHERE w = N'%s'", c->table, writer);
    if (row)
        snprintf(sql + at, sizeof sql - (size_t)at, " AND n = N'%s'", row);
    if (!SQL_SUCCEEDED(SQLExecDirect(s, (SQLCHAR *)sql, SQL_NTS)))
        die(diagnosis(SQL_HANDLE_STMT, s));
    while (SQL_SUCCEEDED(SQLFetch(s))) {
        SQLGetData(s, 1, SQL_C_CHAR, w, sizeof w, &length);
        SQLGetData(s, 2, SQL_C_CHAR, n, sizeof n, &length);
        printf("%s\t%s\t%s\t%s\t", name, w, c->table, n);
        print_value(s, c);
        puts("");
    }
    SQLFreeHandle(SQL_HANDLE_STMT, s);
}

typedef struct {
    char writer[64], name[64];
} Row;

static int only_procedures;

/* Of one writer, or of all. */
static Row *list_rows(const Case *c, const char *writer, size_t *count) {
    SQLHSTMT s;
    char sql[256];
    SQLLEN length;
    Row *rows = NULL;
    *count = 0;
    SQLAllocHandle(SQL_HANDLE_STMT, connection, &s);
    snprintf(sql, sizeof sql, "SELECT w, n FROM dbo.%s WHERE w LIKE N'%s' ORDER BY w, n", c->table,
             writer ? writer : only_procedures ? "%.procedure" : "%");
    if (!SQL_SUCCEEDED(SQLExecDirect(s, (SQLCHAR *)sql, SQL_NTS)))
        die(diagnosis(SQL_HANDLE_STMT, s));
    while (SQL_SUCCEEDED(SQLFetch(s))) {
        rows = realloc(rows, (*count + 1) * sizeof *rows);
        if (!rows)
            die("no memory");
        Row *row = &rows[(*count)++];
        SQLGetData(s, 1, SQL_C_CHAR, row->writer, sizeof row->writer, &length);
        SQLGetData(s, 2, SQL_C_CHAR, row->name, sizeof row->name, &length);
    }
    SQLFreeHandle(SQL_HANDLE_STMT, s);
    return rows;
}

/* The same by an output parameter. */
static void get_row(const char *name, const Case *c, const char *writer, const char *row) {
    SQLHSTMT s;
    Bound b;
    char sql[256];
    SQLLEN length = 0;
    SQLAllocHandle(SQL_HANDLE_STMT, connection, &s);
    convert(c, &b);
    free(b.data);
    memset(fetched, 0, 64);
    bind_name(s, 1, writer);
    bind_name(s, 2, row);
    SQLBindParameter(s, 3, SQL_PARAM_OUTPUT, read_as(c), b.sql_type, b.size, b.digits, fetched,
                     sizeof fetched, &length);
    const char *problem = say_server_type(s, 3, &b);
    snprintf(sql, sizeof sql, "{call dbo.get_%s(?, ?, ?)}", c->table);
    SQLRETURN got = problem ? SQL_ERROR : SQLExecDirect(s, (SQLCHAR *)sql, SQL_NTS);
    /* Outputs come behind everything else. */
    while (SQL_SUCCEEDED(got))
        got = SQLMoreResults(s);
    int called = got == SQL_NO_DATA;
    printf("%s\t%s\t%s\t%s\t", name, writer, c->table, row);
    if (called)
        print_data(c, length);
    else
        printf("FAIL %s", problem ? problem : diagnosis(SQL_HANDLE_STMT, s));
    puts("");
    SQLFreeHandle(SQL_HANDLE_STMT, s);
    if (!called)
        connect_anew();
}

static void get_rows(const char *name, const Case *c, const char *writer, const char *row) {
    if (row) {
        get_row(name, c, writer, row);
        return;
    }
    size_t count;
    Row *rows = list_rows(c, writer, &count);
    for (size_t i = 0; i < count; i++)
        get_row(name, c, writer, rows[i].name);
    free(rows);
}

/* read_rows or get_rows. */
static void (*reader)(const char *name, const Case *c, const char *writer, const char *row);

/* After some cells that it cannot decode the driver crashes, or gives nothing for those behind them
   either, so each writer's rows are read in a process of its own. Returns the signal that ended that,
   or 0; then what it printed has been printed. */
static int read_apart(const char *name, const Case *c, const char *writer, const char *row) {
    FILE *out = tmpfile();
    if (!out)
        die("no temporary file");
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        dup2(fileno(out), STDOUT_FILENO);
        connection = NULL; /* the parent's */
        connect_anew();
        reader(name, c, writer, row);
        fflush(stdout);
        SQLDisconnect(connection);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) {
        fclose(out);
        return WTERMSIG(status);
    }
    rewind(out);
    for (int character; (character = fgetc(out)) != EOF;)
        putchar(character);
    fclose(out);
    return 0;
}

static void read_all(const char *name) {
    const char *last = "";
    for (size_t i = 0; i < case_count; i++) {
        const Case *c = &cases[i];
        if (!strcmp(c->table, last))
            continue;
        last = c->table;
        size_t count;
        Row *rows = list_rows(c, NULL, &count);
        int crashed = 0;
        for (size_t j = 0; j < count; j++) {
            const char *writer = rows[j].writer;
            if (!j || strcmp(writer, rows[j - 1].writer))
                crashed = read_apart(name, c, writer, NULL);
            int ended = crashed ? read_apart(name, c, writer, rows[j].name) : 0;
            if (ended)
                printf("%s\t%s\t%s\t%s\tFAIL the driver crashed with signal %d\n", name, writer,
                       c->table, rows[j].name, ended);
        }
        free(rows);
    }
}

int main(int count, char **arguments) {
    if (count != 5 || !getenv("KEYSTORE"))
        die("KEYSTORE=keystore.so interop write|read|search DIR CASES NAME");
    /* For the negative matrix. */
    const char *setting = getenv("INTEROP_AE");
    int off = setting && !strcmp(setting, "off");
    const char *user = getenv("INTEROP_USER");
    read_cases(arguments[3]);
    snprintf(connection_string, sizeof connection_string,
             "DRIVER={ODBC Driver 18 for SQL Server};SERVER=127.0.0.1,%s;DATABASE=sandbox;UID=%s;"
             "PWD=Interop-1433!;Encrypt=no;TrustServerCertificate=yes;ColumnEncryption=%s",
             read_file(arguments[2], "port"), user ? user : "sa", off ? "Disabled" : "Enabled");
    SQLAllocHandle(SQL_HANDLE_ENV, SQL_NULL_HANDLE, &environment);
    SQLSetEnvAttr(environment, SQL_ATTR_ODBC_VERSION, (SQLPOINTER)SQL_OV_ODBC3_80, 0);
    const char *form = strchr(arguments[4], '.');
    int prepared = form && !strcmp(form, ".prepared");
    int procedure = form && !strcmp(form, ".procedure");
    only_procedures = procedure;
    reader = procedure ? get_rows : read_rows;
    bulk_load = form && !strcmp(form, ".bulk");
    connect_anew();
    if (!strcmp(arguments[1], "write") && bulk_load)
        load_all(arguments[4]);
    else if (!strcmp(arguments[1], "write"))
        write_all(arguments[4], prepared, procedure);
    else if (!strcmp(arguments[1], "read"))
        read_all(arguments[4]);
    else if (!strcmp(arguments[1], "search"))
        search_all(arguments[4], prepared);
    else
        die("no such mode");
    SQLDisconnect(connection);
    return 0;
}
