//! The vectors of tests/vectors, which other vendors' programs made or which break one rule each: see
//! the README there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use always_encrypted::crypto::{
    Cek, CellKey, CellToDecrypt, CellToEncrypt, CmkPrivateKey, EncryptionType, Envelope,
    InvalidCell, encrypted_len,
};
use serde_json::Value;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}

fn bytes(value: &Value, field: &str) -> Vec<u8> {
    let text = text(value, field);
    assert!(text.len().is_multiple_of(2), "{field}");
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().unwrap_or_else(|| panic!("no {field}"))
}

/// The flags that the README lists for a file, with the result that goes with each.
fn listed_flags(file: &str) -> BTreeMap<String, String> {
    let readme = read("README.md");
    let (_, section) = readme.split_once(&format!("## Flags of `{file}`")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (flag, rest) = row.split_once('`').unwrap();
        (flag.to_owned(), rest.split('|').nth(1).unwrap().trim().to_owned())
    })
    .collect()
}

/// Runs every vector of a file; `check` says of one what is not as it must be.
fn run(file: &str, mut check: impl FnMut(&Value, &Value, bool) -> Result<(), String>) {
    let document: Value = serde_json::from_str(&read(file)).unwrap();
    let listed = listed_flags(file);
    let (mut seen, mut numbers, mut failures) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for group in list(&document, "testGroups") {
        for test in list(group, "tests") {
            let number = test["tcId"].as_u64().unwrap();
            assert!(numbers.insert(number), "{file} has {number} twice");
            let result = text(test, "result");
            assert!(!list(test, "flags").is_empty(), "{file} {number} has no flag");
            for flag in list(test, "flags") {
                let flag = flag.as_str().unwrap();
                assert_eq!(listed.get(flag).map(String::as_str), Some(result), "{number} {flag}");
                seen.insert(flag.to_owned());
            }
            if let Err(fault) = check(group, test, result == "valid") {
                failures.push(format!("{number} ({}): {fault}", text(test, "comment")));
            }
        }
    }
    let absent: Vec<_> = listed.keys().filter(|flag| !seen.contains(*flag)).collect();
    assert!(absent.is_empty(), "{file} has no tests of {absent:?}");
    let total = numbers.len();
    assert_eq!(document["numberOfTests"].as_u64(), Some(total as u64), "{file}");
    println!("{file}: {} of {total} vectors as they must be", total - failures.len());
    assert!(failures.is_empty(), "{file}:\n{}", failures.join("\n"));
}

fn unless(holds: bool, fault: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault.to_owned()) }
}

/// By every way there is to decrypt.
fn check_cell(group: &Value, test: &Value, valid: bool) -> Result<(), String> {
    let key = CellKey::new(&Cek::try_from(&bytes(group, "key")[..]).unwrap());
    let (cell, message) = (bytes(test, "cell"), bytes(test, "msg"));
    check_in_batches(&key, &cell, valid.then_some(&message[..]))?;
    let mut out = vec![0xEE; cell.len()];
    let mut in_place = cell.clone();
    let written = key.decrypt_into(&cell, &mut out);
    let range = key.decrypt_in_place(&mut in_place);
    if !valid {
        unless(key.decrypt(&cell) == Err(InvalidCell), "decrypt opens it")?;
        unless(written == Err(InvalidCell.into()), "decrypt_into opens it")?;
        unless(range == Err(InvalidCell), "decrypt_in_place opens it")?;
        let clean = |left: &[u8], before: &[u8]| left == before || left.iter().all(|&b| b == 0);
        let plaintext = out.len().saturating_sub(49);
        unless(clean(&out[..plaintext], &vec![0xEE; plaintext]), "decrypt_into leaves something")?;
        let tail = cell.len() - plaintext;
        return unless(
            clean(&in_place[tail..], &cell[tail..]),
            "decrypt_in_place leaves something",
        );
    }
    unless(bytes(test, "iv") == cell[33..49], "the IV is not the cell's")?;
    unless(key.decrypt(&cell).is_ok_and(|p| *p == message), "decrypt fails")?;
    unless(written.is_ok_and(|len| out[..len] == message), "decrypt_into fails")?;
    unless(range.is_ok_and(|range| in_place[range] == message), "decrypt_in_place fails")?;
    let encryption_type = match text(group, "encryptionType") {
        "deterministic" => EncryptionType::Deterministic,
        "randomized" => EncryptionType::Randomized,
        other => return Err(format!("no such encryption type: {other}")),
    };
    let ours = key.encrypt(&message, encryption_type).unwrap();
    unless(ours.len() == cell.len() && ours.len() == encrypted_len(message.len()), "its length")?;
    let equal = ours == cell;
    let deterministic = encryption_type == EncryptionType::Deterministic;
    unless(equal == deterministic, "what we encrypt")?;
    let mut cells = vec![vec![0; cell.len()]; LARGEST_BATCH];
    let mut batch: Vec<_> = cells.iter_mut().map(|c| CellToEncrypt::new(&message, c)).collect();
    key.encrypt_batch(&mut batch, encryption_type);
    drop(batch);
    unless(cells.iter().all(|c| (*c == cell) == deterministic), "what we encrypt in a batch")
}

/// Seven go four, two and one at a time.
const LARGEST_BATCH: usize = 7;

/// The vector among good cells of its key, at each place of batches of each size: what it does, and
/// that its neighbours do not suffer.
fn check_in_batches(key: &CellKey, vector: &[u8], message: Option<&[u8]>) -> Result<(), String> {
    let neighbour = b"a neighbour";
    let good = key.encrypt(neighbour, EncryptionType::Deterministic).unwrap();
    for size in 1..=LARGEST_BATCH {
        for place in 0..size {
            let mut cells = vec![good.clone(); size];
            cells[place] = vector.to_vec();
            let mut batch: Vec<_> = cells.iter_mut().map(|c| CellToDecrypt::new(c)).collect();
            key.decrypt_batch(&mut batch);
            for (n, cell) in batch.iter().enumerate() {
                let expected = if n == place { message } else { Some(&neighbour[..]) };
                unless(cell.plaintext().ok() == expected, "decrypt_batch")?;
            }
        }
    }
    let mut cells = vec![vector.to_vec(); LARGEST_BATCH];
    let mut batch: Vec<_> = cells.iter_mut().map(|c| CellToDecrypt::new(c)).collect();
    key.decrypt_batch(&mut batch);
    unless(batch.iter().all(|c| c.plaintext().ok() == message), "decrypt_batch of many such")
}

#[test]
fn cells_of_other_vendors_open_and_broken_ones_do_not() {
    run("cell.json", check_cell);
}

#[test]
fn each_driver_made_cells_of_every_length() {
    let document: Value = serde_json::from_str(&read("cell.json")).unwrap();
    let mut made: BTreeMap<(String, String), BTreeSet<usize>> = BTreeMap::new();
    for group in list(&document, "testGroups") {
        let maker = text(&group["source"], "name").to_owned();
        let lengths = list(group, "tests").iter().map(|test| text(test, "msg").len() / 2);
        made.entry((maker, text(group, "encryptionType").to_owned())).or_default().extend(lengths);
    }
    let all = BTreeSet::from([0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 255, 1000]);
    for maker in ["jdbc", "mssql-tds", "odbc", "mssql-client", "go"] {
        for kind in ["deterministic", "randomized"] {
            let mut lengths = made[&(maker.to_owned(), kind.to_owned())].clone();
            if maker == "go" {
                assert!(lengths.insert(0), "go did make the empty one; the README says otherwise");
            }
            assert_eq!(lengths, all, "{maker}, {kind}");
        }
    }
}

#[test]
fn envelopes_of_other_vendors_open_and_broken_ones_do_not() {
    let mut keys: BTreeMap<String, CmkPrivateKey> = BTreeMap::new();
    run("envelope.json", |group, test, valid| {
        let key = keys.entry(text(group, "privateKeyPkcs8").to_owned()).or_insert_with(|| {
            CmkPrivateKey::from_pkcs8_der(&bytes(group, "privateKeyPkcs8")).unwrap()
        });
        let envelope = bytes(test, "envelope");
        let opened =
            Envelope::parse(&envelope).and_then(|e| Ok((e.key_path(), e.unwrap_with(key)?)));
        match opened {
            Ok(_) if !valid => Err("it opens".to_owned()),
            Err(e) if valid => Err(e.to_string()),
            Err(_) => Ok(()),
            Ok((path, cek)) => {
                unless(cek.expose()[..] == bytes(test, "cek"), "another key is in it")?;
                unless(path == text(test, "keyPath"), "another path is in it")
            }
        }
    });
}
