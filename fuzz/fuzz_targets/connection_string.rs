//! Any text is settings or an error, and no error shows the password.
#![no_main]

use always_encrypted::Config;
use libfuzzer_sys::fuzz_target;

const PASSWORD: &str = "correct horse battery";

fuzz_target!(|text: &str| {
    let _ = Config::from_ado_string(text);
    let with_password = format!("Password={PASSWORD};{text}");
    match Config::from_ado_string(&with_password) {
        Ok(config) => assert!(!format!("{config:?}").contains(PASSWORD)),
        Err(error) => assert!(!format!("{error} {error:?}").contains(PASSWORD)),
    }
});
