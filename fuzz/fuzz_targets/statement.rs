//! Any text maps its parameters to something or to nothing, within time and stack, and the names that
//! are asked for are the ones that are answered.
#![no_main]

use always_encrypted::metadata::{Lenders, Objects, objects_of, resolve, targets};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let found = targets(text);
    for name in ["@a", "@b", "@P1", "@p", "a", ""] {
        let of = found.of(name);
        for target in of {
            let _ = objects_of(target);
        }
        // Nothing is known of any table, so nothing is lent.
        assert!(resolve(of, &Objects::new(), Lenders::All).is_none());
    }
});
