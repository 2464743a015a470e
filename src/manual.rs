//! What a reviewer asks before a line of code is read.
//!
//! | chapter | |
//! |---|---|
//! | [`driver_bugs`] | faults found in other implementations of Always Encrypted, and the test that shows that this one does not share each |
//! | [`protocol_limits`] | what Always Encrypted does not protect, whoever implements it |
//! | [`other_drivers`] | how cells of other drivers differ, and which of them are read |

/// Faults found in other implementations, and the test that shows that this one does not share them.
///
/// They were found by reading published sources and by running the drivers against the stand-in in
/// 2026. They are listed because each is easy to repeat, not to blame anyone; later versions may
/// have mended them.
///
/// | fault | seen in | what happens here | test |
/// |---|---|---|---|
/// | The tag is compared over the length of the ciphertext, so a cell of one block has 16 of its 32 bytes checked | mssql-jdbc | all 32 bytes | `a_flipped_bit_anywhere_is_one_and_the_same_error_and_releases_nothing` |
/// | The tag is compared with an early exit | SqlClient, mssql-jdbc | constant time (`subtle`) | |
/// | Without an acknowledgement at login, parameters go out in the clear | ODBC 18, mssql-tds 0.3 | the connection is refused | `a_server_that_does_not_acknowledge_the_feature_is_refused` |
/// | A describe without a result set counts as "nothing is encrypted" | mssql-jdbc 7.4 | nothing is sent | `a_server_that_answers_describe_with_nothing_gets_no_plaintext` |
/// | The acknowledged version is not looked at | mssql-tds 0.3 | any but 1 is refused | `an_acknowledgement_of_another_version_is_refused` |
/// | Times at scales below 7 are not widened, so others read them as another time of day | mssql-tds 0.3, go-mssqldb | widened; such cells are read where they can be told, refused where they show | `digits_beyond_the_scale_are_refused_when_read` |
/// | Integers are encrypted at their own width, so equality with other clients' cells fails | go-mssqldb | eight bytes; the short form is read | `integers_of_their_types_own_width_are_read` |
/// | Decimals have 16 bytes where SqlClient has 17 | mssql-jdbc | 17; any length is read | `jdbcs_decimals_of_sixteen_bytes_and_shorter_ones_are_read` |
/// | The CEK cache is keyed by the master key's path alone, so two keys under one master key are confused | go-mssqldb | keyed by provider, path, algorithm and envelope | `two_keys_under_one_master_key_are_two_keys` |
/// | Only the first encrypted value of a CEK is tried, which breaks while a master key is rotated | mssql-client 0.20, go-mssqldb | all are, in order | `while_a_key_is_being_rotated_either_of_its_values_opens_it` |
/// | Keys of all columns are opened eagerly, so one that is missing fails a result that does not need it | mssql-client 0.20 | a key is asked for by the first cell that needs it | `a_key_store_without_the_key_says_which_path_which_provider_and_where_it_looked` |
/// | Descriptions are cached under the statement alone and for ten hours whatever the server says | mssql-tds 0.3 | dropped on errors 206 and 33514; a single statement is then tried once more | `stale_metadata_is_asked_for_anew_and_the_request_sent_once_more` |
/// | The envelope's lengths are used unchecked | go-mssqldb, JDBC's key store provider | checked before the key is touched | `lengths_that_lie_are_found_before_the_key_is_used` |
/// | A failing cell in the middle of a row desynchronises the stream | SqlClient before 5.2 | the rest is walked to its end, the connection goes on | `a_tampered_cell_ends_the_result_after_the_rows_before_it` |
/// | Keys and key schedules are derived anew for every cell | mssql-tds 0.3 | once per key | `benches/cell.rs` |
pub mod driver_bugs {}

/// What Always Encrypted does not protect, whoever implements it.
///
/// * **A cell is bound to its key and to nothing else.** Whoever can write to the table can put one
///   cell of a key in the place of another, or an old one back, and both decrypt. Give columns keys
///   of their own where that matters.
/// * **Deterministic cells show which values are equal**, in a column and across all columns of the
///   key. With few distinct values, or values whose frequencies are known, that is most of what
///   there is to know. Messages and the like belong in randomized columns.
/// * **Lengths show**, to 16 bytes.
/// * **The server says what is encrypted.** If it says that a parameter is plain, it is sent plain.
///   This crate refuses every answer that is missing, cut short or contradictory; a plain lie it
///   believes, like Microsoft's drivers, which have `ForceColumnEncryption` against it. Here a
///   comment in the statement does that: `/* always-encrypted: force @P2, @P3 */`.
/// * **NULL is not encrypted**, so it shows which values are missing.
/// * **Queries show.** The statement's text, which rows it reads and when are the server's to see.
/// * **RSAES-OAEP uses SHA-1.** It is the protocol's choice (`RSA_OAEP`). OAEP does not rest on the
///   hash's collision resistance, which is what SHA-1 has lost.
/// * **Plaintext lives in the application.** Buffers in this crate are wiped; the strings that the
///   driver returns are ordinary ones.
pub mod protocol_limits {}

/// How cells of other drivers differ, and which of them are read.
///
/// What this crate writes is what SqlClient writes, as far as its source shows; cells of equal
/// values are equal to those of Microsoft's ODBC driver byte for byte, and to those of mssql-tds
/// where its form is the normal one. `interop/` in the repository lets ODBC 18, JDBC, mssql-tds,
/// go-mssqldb and this crate write and read each other's cells and prints who agrees with whom.
///
/// | driver | writes | read here |
/// |---|---|---|
/// | mssql-jdbc | decimals in 16 bytes | yes; not found by equality |
/// | mssql-jdbc | varchar in UTF-8, whatever the collation | as the collation's code page, as every driver does |
/// | mssql-tds 0.3, go-mssqldb | times below scale 5 in 3 or 4 bytes | yes |
/// | mssql-tds 0.3, go-mssqldb | times of scale 5 and 6 in units of their own | refused if digits beyond the scale show it; otherwise nothing tells |
/// | ODBC 18.6's bulk copy | times below scale 7 in units of their own | as those of mssql-tds |
/// | go-mssqldb | integers in 1, 2 or 4 bytes | yes; not found by equality |
/// | the server, encrypting in place | strings padded to the column | yes; not found by equality |
pub mod other_drivers {}
