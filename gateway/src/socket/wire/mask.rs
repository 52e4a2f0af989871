//! The masking of RFC 6455, 5.3.

/// Takes the mask off `bytes`, or puts it on. Answers the key for the bytes that follow.
pub(super) fn unmask(bytes: &mut [u8], mut key: [u8; 4]) -> [u8; 4] {
    // Whole words, which the compiler makes into as wide steps as the machine has.
    let wide = u64::from_ne_bytes(std::array::from_fn(|at| key[at % 4]));
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(wide.to_ne_bytes()) {
        *byte ^= key;
    }
    key.rotate_left(rest.len() % 4);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_unmasked_like_the_whole() {
        let (key, len) = ([1, 2, 4, 8], 300);
        let whole: Vec<u8> = (0..len).map(|at| key[at % 4]).collect();
        for cut in 0..len {
            let mut bytes = vec![0; len];
            let next = unmask(&mut bytes[..cut], key);
            unmask(&mut bytes[cut..], next);
            assert_eq!(bytes, whole, "{cut}");
        }
    }
}
