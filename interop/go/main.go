// Microsoft's go-mssqldb in the matrix.
//
//	interop write|read|search DIR CASES NAME
//
// The name go.procedure is that of calls of put_TABLE. Output parameters are not read: the driver looks for what is said
// of their encryption in the wrong place, and would not decrypt them.
package main

import (
	"database/sql"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/golang-sql/civil"
	mssql "github.com/microsoft/go-mssqldb"
)

type testCase struct {
	table, sqlType, kind, name, value string
	base                              string
	numbers                           []int // 0 for max
}

func (c testCase) null() bool { return c.value == "NULL" }

var typePattern = regexp.MustCompile(`^([a-z0-9]+)(?:\((.*)\))?$`)

func readCases(path string) ([]testCase, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var cases []testCase
	for _, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		f := strings.Split(line, "\t")
		c := testCase{table: f[0], sqlType: f[1], kind: f[2], name: f[4], value: f[5]}
		parts := typePattern.FindStringSubmatch(c.sqlType)
		c.base = parts[1]
		for _, number := range strings.Split(parts[2], ",") {
			n, _ := strconv.Atoi(number)
			c.numbers = append(c.numbers, n)
		}
		cases = append(cases, c)
	}
	return cases, nil
}

func main() {
	if len(os.Args) != 5 {
		fail(fmt.Errorf("interop write|read|search DIR CASES NAME"))
	}
	mode, dir, name := os.Args[1], os.Args[2], os.Args[4]
	cases, err := readCases(os.Args[3])
	fail(err)
	// The driver keeps a column encryption key under the path of its master key: with another key
	// of the same master key, which the randomized columns have, it would encrypt with the first.
	dbs := map[string]*sql.DB{}
	for _, kind := range []string{"DETERMINISTIC", "RANDOMIZED"} {
		dbs[kind], err = connect(dir)
		fail(err)
		defer dbs[kind].Close()
	}
	switch mode {
	case "write":
		write(dbs, cases, name)
	case "read":
		read(dbs, cases, name)
	case "search":
		search(dbs["DETERMINISTIC"], cases, name)
	default:
		fail(fmt.Errorf("no such mode: %s", mode))
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func connect(dir string) (*sql.DB, error) {
	port, err := os.ReadFile(filepath.Join(dir, "port"))
	if err != nil {
		return nil, err
	}
	path, err := os.ReadFile(filepath.Join(dir, "path"))
	if err != nil {
		return nil, err
	}
	keys, err := openStore(filepath.Join(dir, "cmk.pem"), string(path), "aecmk")
	if err != nil {
		return nil, err
	}
	// For the negative matrix, as is INTEROP_AE.
	user := os.Getenv("INTEROP_USER")
	if user == "" {
		user = "sa"
	}
	connector, err := mssql.NewConnector(fmt.Sprintf(
		"sqlserver://%s:Interop-1433!@127.0.0.1:%s?database=sandbox&encrypt=false&TrustServerCertificate=true&columnencryption=%t",
		user, port, os.Getenv("INTEROP_AE") != "off"))
	if err != nil {
		return nil, err
	}
	// It wants every value of a column encryption key to have its provider.
	connector.RegisterCekProvider("MSSQL_CERTIFICATE_STORE", keys)
	connector.RegisterCekProvider("MSSQL_JAVA_KEYSTORE", keys)
	db := sql.OpenDB(connector)
	// After a stream that it cannot parse, a connection that is used again fails as well.
	db.SetMaxIdleConns(0)
	return db, nil
}

// The driver panics on some streams.
func guard(err *error) {
	if problem := recover(); problem != nil {
		*err = fmt.Errorf("panic: %v", problem)
	}
}

func oneLine(err error) string {
	return "FAIL " + strings.Join(strings.Fields(err.Error()), " ")
}

func write(dbs map[string]*sql.DB, cases []testCase, name string) {
	for _, c := range cases {
		fmt.Printf("%s\t%s\t%s\t%s\n", name, c.table, c.name, writeOne(dbs[c.kind], c, name))
	}
}

func writeOne(db *sql.DB, c testCase, name string) (outcome string) {
	value, skip := toGo(c)
	if skip != "" {
		return "skip " + skip
	}
	var err error
	func() {
		defer guard(&err)
		if strings.HasSuffix(name, ".procedure") {
			// The driver would take dbo.put_ to be one name.
			_, err = db.Exec("put_"+c.table, sql.Named("w", name), sql.Named("n", c.name), sql.Named("v", value))
			return
		}
		_, err = db.Exec("INSERT INTO dbo."+c.table+" (w, n, v) VALUES (@p1, @p2, @p3)", name, c.name, value)
	}()
	if err != nil {
		return oneLine(err)
	}
	return "ok"
}

func search(db *sql.DB, cases []testCase, name string) {
	for _, c := range cases {
		value, skip := toGo(c)
		if c.kind != "DETERMINISTIC" || c.null() || skip != "" {
			continue
		}
		var writers []string
		var err error
		func() {
			defer guard(&err)
			var rows *sql.Rows
			rows, err = db.Query("SELECT w FROM dbo."+c.table+" WHERE v = @p1 AND n = @p2 ORDER BY w", value, c.name)
			if err != nil {
				return
			}
			defer rows.Close()
			for rows.Next() {
				var writer string
				if err = rows.Scan(&writer); err != nil {
					return
				}
				writers = append(writers, writer)
			}
			err = rows.Err()
		}()
		found := strings.Join(writers, " ")
		if err != nil {
			found = oneLine(err)
		}
		fmt.Printf("%s\t%s\t%s\t%s\n", name, c.table, c.name, found)
	}
}

func read(dbs map[string]*sql.DB, cases []testCase, name string) {
	last := ""
	for _, c := range cases {
		if c.table == last {
			continue
		}
		last = c.table
		db := dbs[c.kind]
		lines, err := rows(db, "SELECT w, n, v FROM dbo."+c.table, c)
		if err != nil {
			lines = oneByOne(db, c)
		}
		for _, l := range lines {
			fmt.Printf("%s\t%s\t%s\t%s\t%s\n", name, l[0], c.table, l[1], l[2])
		}
	}
}

// oneByOne finds the row whose cell cannot be read.
func oneByOne(db *sql.DB, c testCase) [][3]string {
	keys, err := rows(db, "SELECT w, n, N'' FROM dbo."+c.table, c)
	fail(err)
	var lines [][3]string
	for _, key := range keys {
		one, err := rows(db, fmt.Sprintf("SELECT w, n, v FROM dbo.%s WHERE w = N'%s' AND n = N'%s'",
			c.table, key[0], key[1]), c)
		if err != nil {
			one = [][3]string{{key[0], key[1], oneLine(err)}}
		}
		lines = append(lines, one...)
	}
	return lines
}

func rows(db *sql.DB, query string, c testCase) (lines [][3]string, err error) {
	defer guard(&err)
	result, err := db.Query(query)
	if err != nil {
		return nil, err
	}
	defer result.Close()
	for result.Next() {
		var writer, name string
		var value any
		if err = result.Scan(&writer, &name, &value); err != nil {
			return nil, err
		}
		lines = append(lines, [3]string{writer, name, text(c, value)})
	}
	return lines, result.Err()
}

func bytesOf(c testCase) []byte {
	data, err := hex.DecodeString(c.value[2:])
	fail(err)
	return data
}

// toGo gives the value of a case, or why there is none.
func toGo(c testCase) (any, string) {
	if c.null() {
		return nil, "an untyped nil goes unencrypted"
	}
	integer := func() int64 {
		n, err := strconv.ParseInt(c.value, 10, 64)
		fail(err)
		return n
	}
	when := func(layout string) time.Time {
		t, err := time.Parse(layout, c.value)
		fail(err)
		return t
	}
	switch c.base {
	case "bit":
		return c.value == "1", ""
	case "tinyint":
		return uint8(integer()), ""
	case "smallint":
		return int16(integer()), ""
	case "int":
		return int32(integer()), ""
	case "bigint":
		return integer(), ""
	case "real":
		bits, err := strconv.ParseUint(c.value, 16, 32)
		fail(err)
		return math.Float32frombits(uint32(bits)), ""
	case "float":
		bits, err := strconv.ParseUint(c.value, 16, 64)
		fail(err)
		return math.Float64frombits(bits), ""
	case "decimal", "numeric":
		return nil, "decimals go as nvarchar"
	case "money", "smallmoney":
		return nil, "money goes as nvarchar"
	case "date":
		return civil.DateOf(when("2006-01-02")), ""
	case "time", "datetime2", "datetimeoffset":
		if c.numbers[0] != 7 {
			return nil, "times are declared with scale 7"
		}
		switch c.base {
		case "time":
			return civil.TimeOf(when("15:04:05.0000000")), ""
		case "datetime2":
			return civil.DateTimeOf(when("2006-01-02 15:04:05.0000000")), ""
		}
		return mssql.DateTimeOffset(when("2006-01-02 15:04:05.0000000 -07:00")), ""
	case "datetime":
		return mssql.DateTime1(when("2006-01-02 15:04:05.000")), ""
	case "smalldatetime":
		return nil, "there is no smalldatetime"
	case "char", "varchar":
		return nil, "varchar is not supported with encryption"
	case "nchar", "nvarchar":
		return string(bytesOf(c)), ""
	case "binary", "varbinary":
		return bytesOf(c), ""
	case "uniqueidentifier":
		var id mssql.UniqueIdentifier
		fail(id.Scan(c.value))
		return id, ""
	}
	return nil, "no such type: " + c.sqlType
}

func text(c testCase, value any) string {
	scale := c.numbers[0]
	layout := func(whole string, scale int) string {
		if scale == 0 {
			return whole
		}
		return whole + "." + strings.Repeat("0", scale)
	}
	switch v := value.(type) {
	case nil:
		return "NULL"
	case bool:
		if v {
			return "1"
		}
		return "0"
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		if c.base == "real" {
			return fmt.Sprintf("%08x", math.Float32bits(float32(v)))
		}
		return fmt.Sprintf("%016x", math.Float64bits(v))
	case string:
		return "u:" + hex.EncodeToString([]byte(v))
	case []byte:
		switch c.base {
		case "decimal", "numeric", "money", "smallmoney":
			return string(v)
		case "uniqueidentifier":
			var id mssql.UniqueIdentifier
			fail(id.Scan(v))
			return strings.ToLower(id.String())
		}
		return "x:" + hex.EncodeToString(v)
	case time.Time:
		switch c.base {
		case "date":
			return v.Format("2006-01-02")
		case "time":
			return v.Format(layout("15:04:05", scale))
		case "datetime2":
			return v.Format(layout("2006-01-02 15:04:05", scale))
		case "datetimeoffset":
			return v.Format(layout("2006-01-02 15:04:05", scale) + " -07:00")
		case "datetime":
			return v.Round(time.Millisecond).Format("2006-01-02 15:04:05.000")
		}
		return v.Format("2006-01-02 15:04")
	}
	return fmt.Sprintf("unexpected %T", value)
}
