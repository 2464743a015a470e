//! Whether the time that a refusal takes tells why: Welch's t between two kinds of bad cells, after
//! dudect (Reparaz, Balasch, Verbauwhede, 2017).
//!
//! ```text
//! cargo bench --bench timing
//! cargo bench --bench timing -- 1000000        samples of each kind
//! ```
//!
//! |t| below 4.5 says nothing was found in so many samples, not that there is nothing. It never
//! fails: on a machine that does other work the numbers wander. The first line is a comparison that
//! does leak, to show what a finding looks like.
//!
//! A cell whose tag holds and whose padding does not is decrypted before it is refused, and so takes
//! longer than one whose tag does not hold. That is no oracle: only who has the key can make one.
//! The line is there to be seen, not to be small.

use std::{hint::black_box, time::Instant};

use always_encrypted::crypto::{Cek, CellKey, EncryptionType, encrypted_len};
use serde_json::Value;

const LEN: usize = 64;
/// Each sample is this many calls: one alone is near the clock's resolution.
const CALLS: usize = 8;
/// Warms caches and clocks; not counted.
const WARM_UP: usize = 2000;

fn main() {
    // `cargo test --benches` and `cargo bench` hand over flags of their own.
    let number = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let smoke = std::env::args().any(|argument| argument == "--test");
    let samples: usize = number.unwrap_or(if smoke { 1000 } else { 200_000 });

    let key = CellKey::new(&Cek::from([7; 32]));
    let good = key.encrypt(&[9; LEN], EncryptionType::Randomized).unwrap();
    let with_tag_byte = |at: usize| {
        let mut cell = good.clone();
        cell[1 + at] ^= 0x55;
        cell
    };
    let (first, last) = (with_tag_byte(0), with_tag_byte(31));

    let early = |cell: &[u8]| good[1..33].iter().zip(&cell[1..33]).position(|(a, b)| a != b);
    let mut out = vec![0; encrypted_len(LEN)];
    let mut refuse = |cell: &[u8]| key.decrypt_into(cell, &mut out).is_err();

    report("a comparison that stops early, first byte or last", samples, &first, &last, |cell| {
        black_box(early(black_box(cell)));
    });
    report("tag wrong in its first byte, or its last", samples, &first, &last, |cell| {
        black_box(refuse(black_box(cell)));
    });
    report("the same wrong tag twice: what noise makes", samples, &last, &last.clone(), |cell| {
        black_box(refuse(black_box(cell)));
    });
    let early_padding = vector("the first of 16 padding bytes is another");
    let late_padding = vector("the last but one of 16 padding bytes is another");
    let other = CellKey::new(&Cek::from(std::array::from_fn(|i| i as u8)));
    let mut refuse = |cell: &[u8]| other.decrypt_into(cell, &mut out).is_err();
    let mut no_tag = early_padding.clone();
    no_tag[32] ^= 1;
    report("padding wrong, or tag wrong (see above)", samples, &early_padding, &no_tag, |cell| {
        black_box(refuse(black_box(cell)));
    });
    let name = "padding wrong in its first byte, or its last";
    report(name, samples, &early_padding, &late_padding, |cell| {
        black_box(refuse(black_box(cell)));
    });
}

/// Interleaved in a random order, so that what drifts drifts for both.
fn report(name: &str, samples: usize, a: &[u8], b: &[u8], mut work: impl FnMut(&[u8])) {
    let mut times = [Vec::with_capacity(samples), Vec::with_capacity(samples)];
    // Both kinds lie in one place, so that the caches see no difference.
    let mut place = a.to_vec();
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    for n in 0..2 * samples + WARM_UP {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let kind = usize::from(state >> 63 == 1);
        place.copy_from_slice([a, b][kind]);
        let start = Instant::now();
        for _ in 0..CALLS {
            work(&place);
        }
        let taken = start.elapsed().as_nanos() as f64 / CALLS as f64;
        if n >= WARM_UP {
            times[kind].push(taken);
        }
    }
    // What an interruption lengthens is no property of the code: the slowest tenth of all goes.
    let mut all: Vec<f64> = times.concat();
    all.sort_by(f64::total_cmp);
    let limit = all[all.len() * 9 / 10];
    let [a, b] = times.map(|times| Moments::of(times.into_iter().filter(|&t| t <= limit)));
    let t = (a.mean - b.mean) / (a.variance / a.count + b.variance / b.count).sqrt();
    println!(
        "{name}: |t| = {:.2}, {} and {} samples, {:.1} and {:.1} ns",
        t.abs(),
        a.count,
        b.count,
        a.mean,
        b.mean
    );
}

struct Moments {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Moments {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
        for value in values {
            count += 1.0;
            let delta = value - mean;
            mean += delta / count;
            squares += delta * (value - mean);
        }
        Self { count, mean, variance: squares / (count - 1.0) }
    }
}

/// A cell of tests/vectors whose tag holds and whose padding does not: no call of the library makes one.
fn vector(comment: &str) -> Vec<u8> {
    let document: Value =
        serde_json::from_str(include_str!("../tests/vectors/cell.json")).expect("JSON");
    let groups = document["testGroups"].as_array().into_iter().flatten();
    let test = groups
        .flat_map(|group| group["tests"].as_array().into_iter().flatten())
        .find(|test| test["comment"] == comment)
        .expect("a vector");
    let text = test["cell"].as_str().expect("hex");
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(byte).collect()
}
