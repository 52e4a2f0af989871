//! Argon2id over memory that is used again.
//!
//! A hash takes many MiB. Allocators keep blocks of that size in ways that nobody can foresee: fifty logins at a time
//! were seen to leave a process with a hundred MiB, and with another allocator with a thousand. What rests is let go of.

use super::PasswordError;
use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};

/// The memory of one hash at a time. It grows to what the costliest needs.
pub(crate) type Memory = Vec<Block>;

/// Hashes passwords at one cost, and verifies those hashed at any.
#[derive(Clone)]
pub(crate) struct Argon {
    params: Params,
}

impl Argon {
    /// `memory_kib` per hash, passed over `iterations` times in `lanes`.
    pub(crate) fn new(memory_kib: u32, iterations: u32, lanes: u32) -> Result<Self, PasswordError> {
        let params = Params::new(
            memory_kib,
            iterations,
            lanes,
            Some(Params::DEFAULT_OUTPUT_LEN),
        );
        Ok(Self {
            params: params.map_err(PasswordError::Cost)?,
        })
    }

    /// The PHC string of a password, with a new salt.
    pub(crate) fn hash(
        &self,
        password: &[u8],
        memory: &mut Memory,
    ) -> Result<String, PasswordError> {
        let salt = Salt::generate();
        let output = derive(self.params.clone(), password, &salt, memory)?;
        self.format(salt, output)
    }

    /// The PHC string of a password that does not exist: its output is random. Verifying it costs as much as any other.
    pub(crate) fn decoy(&self) -> Result<String, PasswordError> {
        // Salts are random, too; two of them are as long as an output.
        let (half, other) = (Salt::generate(), Salt::generate());
        let output = Output::new(&[half.as_ref(), other.as_ref()].concat()).map_err(failed)?;
        self.format(Salt::generate(), output)
    }

    fn format(&self, salt: Salt, output: Output) -> Result<String, PasswordError> {
        let hash = PasswordHash {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(&self.params).map_err(failed)?,
            salt: Some(salt),
            hash: Some(output),
        };
        Ok(hash.to_string())
    }

    /// Whether the PHC string `stored` was made of this password.
    pub(crate) fn verify(
        &self,
        password: &[u8],
        stored: &str,
        memory: &mut Memory,
    ) -> Result<bool, PasswordError> {
        let stored = PasswordHash::new(stored).map_err(failed)?;
        let is_ours = stored.algorithm == Algorithm::Argon2id.ident()
            && stored.version == Some(Version::V0x13.into());
        let (Some(salt), Some(expected), true) = (&stored.salt, &stored.hash, is_ours) else {
            return Err(PasswordError::Failed(
                "it is not the hash of Argon2id version 19".to_owned(),
            ));
        };
        let params = Params::try_from(&stored).map_err(failed)?;
        // Outputs are compared in constant time.
        Ok(derive(params, password, salt, memory)? == *expected)
    }
}

fn derive(
    params: Params,
    password: &[u8],
    salt: &Salt,
    memory: &mut Memory,
) -> Result<Output, PasswordError> {
    let len = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
    let blocks = params.block_count();
    if memory.len() < blocks {
        memory.resize(blocks, Block::default());
    }
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut output = [0; Output::MAX_LENGTH];
    let output = output
        .get_mut(..len)
        .ok_or_else(|| failed("the hash is too long"))?;
    argon2
        .hash_password_into_with_memory(password, salt, output, &mut memory[..blocks])
        .map_err(failed)?;
    Output::new(output).map_err(failed)
}

fn failed(error: impl ToString) -> PasswordError {
    PasswordError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::password_hash::PasswordVerifier;

    #[test]
    fn hashes_are_what_others_compute() {
        let argon = Argon::new(64, 2, 1).unwrap();
        let mut memory = Memory::new();
        let hash = argon.hash(b"correct horse", &mut memory).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=2,p=1$"), "{hash}");
        Argon2::default()
            .verify_password(b"correct horse", &*hash)
            .unwrap();
    }

    #[test]
    fn hashes_of_others_verify() {
        // From `src/test.c` of the reference implementation (P-H-C/phc-winner-argon2).
        let reference =
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        let argon = Argon::new(8, 1, 1).unwrap();
        assert!(
            argon
                .verify(b"password", reference, &mut Memory::new())
                .unwrap()
        );
        assert!(
            !argon
                .verify(b"passwort", reference, &mut Memory::new())
                .unwrap()
        );
    }

    #[test]
    fn memory_left_by_another_hash_makes_no_difference() {
        let (small, large) = (Argon::new(8, 1, 1).unwrap(), Argon::new(256, 1, 2).unwrap());
        let mut memory = Memory::new();
        let of_large = large.hash(b"correct horse", &mut memory).unwrap();
        let of_small = small.hash(b"correct horse", &mut memory).unwrap();
        for hash in [of_large, of_small] {
            assert!(small.verify(b"correct horse", &hash, &mut memory).unwrap());
            assert!(!small.verify(b"correct horsf", &hash, &mut memory).unwrap());
        }
        assert_eq!(memory.len(), 256, "it has grown to the largest");
    }

    #[test]
    fn other_kinds_of_hashes_are_errors() {
        let argon = Argon::new(8, 1, 1).unwrap();
        let other =
            "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY";
        for stored in ["plain", "$argon2id$v=19$m=8,t=1,p=1", other] {
            let verified = argon.verify(b"password", stored, &mut Memory::new());
            assert!(
                matches!(verified, Err(PasswordError::Failed(_))),
                "{stored}"
            );
        }
    }
}
