//! Whatever the server says of its columns, one entry comes of each object or none at all.
#![no_main]

use always_encrypted::metadata::{CatalogueAnswer, Column, ObjectKind};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let kinds = [ObjectKind::Table, ObjectKind::Procedure];
    if let Ok(CatalogueAnswer::Known(objects)) = CatalogueAnswer::read(data, &kinds) {
        assert_eq!(objects.len(), kinds.len());
        for object in objects {
            let first = object.column(&Column::Position(0));
            assert!(!object.is_unknown() || first.is_none());
            if let Some(column) = first {
                assert!(object.column(&Column::Named(column.name.clone())).is_some());
            }
        }
    }
});
