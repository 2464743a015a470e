//! Files that are used all the same, and links that are not.

use super::*;

#[cfg(unix)]
#[tokio::test]
async fn a_link_out_of_the_directory_is_not_followed_and_one_within_is() {
    use std::os::unix::fs::symlink;
    let elsewhere = directory(&[("modern.pfx", "a.pfx")]);
    let dir = tempfile::tempdir().unwrap();
    symlink(elsewhere.path().join("a.pfx"), dir.path().join("out.pfx")).unwrap();
    // As Kubernetes mounts secrets.
    fs::create_dir(dir.path().join("..2026")).unwrap();
    fs::copy(format!("{FIXTURES}legacy.pfx"), dir.path().join("..2026/in.pfx")).unwrap();
    symlink("..2026", dir.path().join("..data")).unwrap();
    symlink("..data/in.pfx", dir.path().join("in.pfx")).unwrap();
    symlink("nowhere.pfx", dir.path().join("dangling.pfx")).unwrap();
    let store = open(&dir).await;
    assert_eq!(store.thumbprints(), [LEGACY.parse().unwrap()]);
    let skipped = store.skipped();
    assert_eq!(skipped.len(), 2, "{skipped:?}");
    assert!(skipped.iter().any(|file| file.path.ends_with("out.pfx")
        && matches!(&file.problem, KeyFileProblem::LinkOutside { target }
            if target.ends_with("a.pfx"))));
}

#[cfg(unix)]
#[tokio::test]
async fn files_that_others_can_read_or_write_are_warned_of_and_serve() {
    use std::os::unix::fs::PermissionsExt;
    let dir = directory(&[("modern.pfx", "a.pfx"), ("pair.crt", "b.crt"), ("pair.key", "b.key")]);
    let chmod = |name: &str, mode| {
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::write(dir.path().join("password"), PASSWORD).unwrap();
    for (name, mode) in
        [("a.pfx", 0o644), ("b.crt", 0o644), ("b.key", 0o620), ("password", 0o604), ("", 0o770)]
    {
        chmod(name, mode);
    }
    let passwords = FilePasswords::in_file(dir.path().join("password"));
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&heard);
    let store = CertificateDirectory::open_with(dir.path(), passwords)
        .await
        .unwrap()
        .on_warning(move |warning| hear.lock().unwrap().push(warning.clone()));
    let path = |name: &str| dir.path().join(name);
    let expected = [
        KeyFileWarning::ReadableByAll { path: path("password"), mode: 0o604 },
        KeyFileWarning::WritableByOthers { path: dir.path().into(), mode: 0o770 },
        KeyFileWarning::ReadableByAll { path: path("a.pfx"), mode: 0o644 },
        KeyFileWarning::WritableByOthers { path: path("b.key"), mode: 0o620 },
    ];
    assert_eq!(*store.warnings(), expected);
    assert_eq!(*heard.lock().unwrap(), expected);
    assert_eq!(store.thumbprints().len(), 2);
    for (name, mode) in [("a.pfx", 0o640), ("b.key", 0o600), ("password", 0o600), ("", 0o700)] {
        chmod(name, mode);
    }
    store.rescan().await.unwrap();
    assert_eq!(*store.warnings(), []);
    chmod("b.key", 0o666);
    store.rescan().await.unwrap();
    store.rescan().await.unwrap();
    assert_eq!(heard.lock().unwrap().len(), expected.len() + 2, "each is told once");
    let (text, secret) = (format!("{:?}", store.warnings()), PASSWORD);
    assert!(text.contains("b.key") && !text.contains(secret), "{text}");
}

#[tokio::test]
async fn of_two_files_with_one_certificate_the_first_serves_and_the_other_is_named() {
    let dir = directory(&[("pair.crt", "z.crt"), ("pair.key", "z.key")]);
    add(&dir, "pair.crt", "a.crt");
    add(&dir, "pair.key", "a.key");
    let store = open(&dir).await;
    assert_eq!(store.thumbprints(), [PAIR.parse().unwrap()]);
    let duplicates: Vec<_> = store
        .warnings()
        .iter()
        .filter(|warning| matches!(warning, KeyFileWarning::DuplicateCertificate { .. }))
        .cloned()
        .collect();
    let (used, other) = (dir.path().join("a.crt"), dir.path().join("z.crt"));
    let thumbprint = PAIR.parse().unwrap();
    assert_eq!(duplicates, [KeyFileWarning::DuplicateCertificate { thumbprint, used, other }]);
}

#[tokio::test]
async fn a_file_that_holds_a_certificate_twice_is_no_duplicate_of_itself() {
    let dir = directory(&[("pair.key", "a.key")]);
    let certificate = fs::read_to_string(format!("{FIXTURES}pair.crt")).unwrap();
    fs::write(dir.path().join("a.crt"), certificate.repeat(255)).unwrap();
    let store = open(&dir).await;
    assert_eq!(store.thumbprints(), [PAIR.parse().unwrap()]);
    let duplicate = |w: &&KeyFileWarning| matches!(w, KeyFileWarning::DuplicateCertificate { .. });
    assert_eq!(store.warnings().iter().filter(duplicate).count(), 0);
}

/// Writes a file of `keys` empty keys that all accounts can read.
#[cfg(unix)]
fn exposed_keys(dir: &TempDir, name: &str, keys: usize) {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.path().join(name);
    let key = "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n";
    fs::write(&path, key.repeat(keys)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_is_warned_of_once_however_many_keys_are_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["a.key", "b.key"];
    for (name, keys) in names.into_iter().zip([256, 300]) {
        exposed_keys(&dir, name, keys);
    }
    let path = |name: &str| dir.path().join(name);
    let warning = |name| KeyFileWarning::ReadableByAll { path: path(name), mode: 0o644 };
    assert_eq!(*open(&dir).await.warnings(), names.map(warning));
}

#[cfg(unix)]
#[tokio::test]
async fn files_without_end_do_not_fill_the_log_with_warnings() {
    use crate::keystore::key_file::MAX_WARNINGS;
    let dir = tempfile::tempdir().unwrap();
    for n in 0..MAX_WARNINGS + 44 {
        exposed_keys(&dir, &format!("{n}.key"), 1);
    }
    let heard = Arc::new(Mutex::new(0));
    let hear = Arc::clone(&heard);
    let store = open(&dir).await.on_warning(move |_| *hear.lock().unwrap() += 1);
    let warnings = store.warnings();
    assert_eq!(warnings.len(), MAX_WARNINGS + 1);
    assert_eq!(warnings.last(), Some(&KeyFileWarning::More { count: 44 }));
    store.rescan().await.unwrap();
    assert_eq!(*heard.lock().unwrap(), MAX_WARNINGS + 1, "each is told once");
}

#[cfg(unix)]
#[tokio::test]
async fn keys_are_there_when_a_warning_is_told_and_though_the_hook_panics() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let files = Arc::clone(&store.files);
    let seen = Arc::new(Mutex::new(None));
    let see = Arc::clone(&seen);
    let store = store.on_warning(move |_| {
        *see.lock().unwrap() = Some(files.index().thumbprints().len());
        panic!("of the program's own");
    });
    add(&dir, "modern.pfx", "b.pfx");
    exposed_keys(&dir, "a.key", 1);
    store.rescan().await.unwrap_err();
    assert_eq!(*seen.lock().unwrap(), Some(1));
    assert_eq!(store.thumbprints().len(), 1);
}

#[tokio::test]
async fn an_expired_certificate_serves_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let key = Arc::new(
        CmkPrivateKey::from_pem(&fs::read_to_string(format!("{FIXTURES}pair.key")).unwrap())
            .unwrap(),
    );
    let certificate = CmkCertificate::self_signed(&key, "Old", Duration::ZERO).unwrap();
    write::pem_pair(dir.path(), &key, &certificate).unwrap();
    let path = certificate.thumbprint().to_string();
    let store = open(&dir).await;
    // Certificates count in seconds.
    while !store.warnings().iter().any(|w| matches!(w, KeyFileWarning::Expired { .. })) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        store.rescan().await.unwrap();
    }
    let envelope = store.wrap_cek(&path, RSA_OAEP, &Cek::from([9; 32])).await.unwrap();
    assert!(store.unwrap_cek(&path, RSA_OAEP, &envelope).await.is_ok());
}
