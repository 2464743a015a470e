use super::*;

#[test]
fn binaries_are_taken_as_they_are_if_they_fit() {
    for (from, data, to, expected) in [
        ("varbinary(8000)", "0102", "binary(4)", Ok("0102")),
        ("varbinary(max)", "0102", "varbinary(2)", Ok("0102")),
        ("binary(4)", "01020000", "varbinary(max)", Ok("01020000")),
        ("varbinary(10)", "", "binary(1)", Ok("")),
        ("varbinary(10)", "010203", "binary(2)", Err(Refusal::TooLong(3))),
        ("varbinary(10)", "0100", "varbinary(1)", Err(Refusal::TooLong(2))),
    ] {
        let result = converted(conversion_type(from), &hex(data), conversion_type(to));
        assert_eq!(result.map_err(refusal), expected.map(hex), "{from} {data} {to}");
    }
}
