//! Strings of UTF-16 that are not well formed.

use proptest::{collection::vec, prelude::*};

use super::*;

fn utf16(units: &[u16]) -> Vec<u8> {
    units.iter().flat_map(|unit| unit.to_le_bytes()).collect()
}

#[test]
fn a_surrogate_without_its_partner_is_found_wherever_it_is() {
    for (units, expected) in [
        ([].as_slice(), None),
        (&[0x41], None),
        (&[0xD7FF, 0xE000], None),
        (&[0xD83D, 0xDE00], None),
        (&[0xD83D, 0xDE00, 0xD83D, 0xDE00, 0x41], None),
        (&[0xD83D], Some(0)),
        (&[0xDE00], Some(0)),
        (&[0xDE00, 0xD83D], Some(0)),
        (&[0xD83D, 0xD83D, 0xDE00], Some(0)),
        (&[0x41, 0xD83D], Some(1)),
        (&[0xD83D, 0xDE00, 0xDE00], Some(2)),
        (&[0xD83D, 0xDE00, 0x41, 0xDBFF, 0xE000], Some(3)),
    ] {
        assert_eq!(find_lone_surrogate(&utf16(units)), expected, "{units:x?}");
    }
}

#[test]
fn a_lone_surrogate_is_found_in_every_place_of_a_long_string() {
    for len in [31, 32, 33, 64, 100] {
        for place in 0..len {
            let mut units = vec![0x41; len];
            units[place] = 0xDC00;
            assert_eq!(find_lone_surrogate(&utf16(&units)), Some(place));
        }
    }
}

proptest! {
    #[test]
    fn the_search_agrees_with_the_standard_library(
        units in vec(prop_oneof![0x41u16..0x43, 0xD7FEu16..0xD802, 0xDBFEu16..0xDC02, 0xDFFEu16..0xE002], 0..120),
    ) {
        let mut at = 0;
        let mut expected = None;
        for c in char::decode_utf16(units.iter().copied()) {
            match c {
                Ok(c) => at += c.len_utf16(),
                Err(_) => {
                    expected = Some(at);
                    break;
                }
            }
        }
        prop_assert_eq!(find_lone_surrogate(&utf16(&units)), expected);
    }

    #[test]
    fn text_is_well_formed(text in "\\PC{0,200}") {
        let units: Vec<u16> = text.encode_utf16().collect();
        prop_assert_eq!(find_lone_surrogate(&utf16(&units)), None);
    }
}
