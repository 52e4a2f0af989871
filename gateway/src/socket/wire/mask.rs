//! The masking of RFC 6455, 5.3.

/// Bytes masked at once: wide enough for every vector unit.
const STEP: usize = 64;

/// Takes the mask off `bytes`, or puts it on. Answers the key for the bytes that follow.
pub(super) fn unmask(bytes: &mut [u8], mut key: [u8; 4]) -> [u8; 4] {
    let wide: [u8; STEP] = std::array::from_fn(|at| key[at % 4]);
    let mut steps = bytes.chunks_exact_mut(STEP);
    for step in &mut steps {
        step.iter_mut()
            .zip(&wide)
            .for_each(|(byte, key)| *byte ^= key);
    }
    let rest = steps.into_remainder();
    rest.iter_mut()
        .zip(&wide)
        .for_each(|(byte, key)| *byte ^= key);
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
