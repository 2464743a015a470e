//! PKCS#12's own derivation of keys from passwords, RFC 7292 appendix B.2.

use sha2::digest::{Digest, block_api::BlockSizeUser};
use zeroize::{Zeroize as _, Zeroizing};

/// What the derived bytes are for: appendix B.3.
#[derive(Clone, Copy)]
pub(in crate::keystore::key_file) enum Purpose {
    Key = 1,
    Iv = 2,
    Mac = 3,
}

/// Fills `out`. `password` is in UTF-16 with a zero behind it, or nothing at all.
pub(in crate::keystore::key_file) fn derive<D: Digest + BlockSizeUser>(
    password: &[u8],
    salt: &[u8],
    purpose: Purpose,
    rounds: u32,
    out: &mut [u8],
) {
    let block = D::block_size();
    let diversifier = vec![purpose as u8; block];
    let whole = |bytes: &[u8]| bytes.len().next_multiple_of(block);
    let mut input = Zeroizing::new(Vec::with_capacity(whole(salt) + whole(password)));
    for bytes in [salt, password] {
        input.extend(bytes.iter().copied().cycle().take(whole(bytes)));
    }
    for part in out.chunks_mut(<D as Digest>::output_size()) {
        let mut digest =
            D::new().chain_update(&diversifier).chain_update(input.as_slice()).finalize();
        for _ in 1..rounds {
            digest = D::digest(&digest);
        }
        part.copy_from_slice(&digest[..part.len()]);
        for chunk in input.chunks_exact_mut(block) {
            add_one_and(chunk, &digest);
        }
        digest.as_mut_slice().zeroize();
    }
}

/// Adds `digest`, repeated to the length of `number`, and one.
fn add_one_and(number: &mut [u8], digest: &[u8]) {
    let mut carry = 1;
    let len = number.len();
    let repeated = digest.iter().cycle().take(len);
    let addend = Zeroizing::new(repeated.copied().collect::<Vec<u8>>());
    for (byte, add) in number.iter_mut().zip(addend.iter()).rev() {
        let sum = u16::from(*byte) + u16::from(*add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
}

#[cfg(test)]
mod tests {
    use sha1::Sha1;
    use sha2::{Sha256, Sha512};

    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
        digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    fn assert_derives<D: Digest + BlockSizeUser>(
        password: &str,
        purpose: Purpose,
        rounds: u32,
        expected: &str,
    ) {
        let expected = unhex(expected);
        let mut out = vec![0; expected.len()];
        let salt = unhex("0A58CF64530D823F");
        derive::<D>(&unhex(password), &salt, purpose, rounds, &mut out);
        assert_eq!(out, expected);
    }

    /// Each is what `openssl kdf -keylen .. -kdfopt digest:.. -kdfopt hexpass:.. -kdfopt
    /// hexsalt:0A58CF64530D823F -kdfopt iter:.. -kdfopt id:.. PKCS12KDF` of OpenSSL 3.0 says.
    #[test]
    fn it_is_the_derivation_of_openssl() {
        const SMEG: &str = "0073006d006500670000";
        assert_derives::<Sha1>(
            SMEG,
            Purpose::Key,
            1,
            "8aaae6297b6cb04642ab5b077851284eb7128f1a2a7fbca3",
        );
        assert_derives::<Sha1>(SMEG, Purpose::Iv, 1000, "b39bf194ae8e43eb");
        assert_derives::<Sha1>(
            "",
            Purpose::Key,
            2000,
            "2213312e7b3bb6a8a0fd2e948e200268d4d7979eeff6cdb5",
        );
        assert_derives::<Sha1>(
            "0000",
            Purpose::Key,
            2000,
            "e81f698e3587a023dfae1ccd3b5b2dd445ee997f796ee819",
        );
        assert_derives::<Sha1>(
            "",
            Purpose::Mac,
            3,
            "91a7345c5e1a2d0fd615a3e0c081257f8d0779f04402d71567fa29716d64cb5d6a63e789f489ee794c380ccc53f7d03381a4",
        );
        assert_derives::<Sha256>(
            SMEG,
            Purpose::Mac,
            1000,
            "35ac16a454d608fb10c8d7c6338ca85818587aed0ff771fd265957e412c2c03c",
        );
        assert_derives::<Sha512>(
            SMEG,
            Purpose::Key,
            10,
            "b2d1da4609a6977250ddb5cefd98d12c1fc214aea269de8216af6f2b5fa0ed6a4ba3ad787d7d9ccb7931f7f266d5381bf97602b7979c1e1eb910252fcb06fe7cba8c2a11f7587994623f8086170fcd2f7b8df03865b9a110cf20b1901b5953ba6ff577a7493b2abd84d408ef11029d8bbe03ceb3e6430b0ecdf51465d2521c236b18",
        );
        assert_derives::<Sha1>(
            &("00e4".repeat(40) + "d83dde000000"),
            Purpose::Key,
            7,
            "384804b9be7613bd47216b55fa821caaf3f6d51567e667b0",
        );
    }
}
