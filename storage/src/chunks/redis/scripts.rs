//! The functions that run in the server, each as one step that nothing comes between.

use redis::{Cmd, Pipeline, Script, cmd};
use std::sync::LazyLock;

/// Bytes of a block: what clients are told to send at once, so that a chunk is a block and a value of its own. The allocator
/// gives it a quarter more; [`super::server`] reckons with that.
pub(super) const BLOCK: u64 = 256 << 10;

/// How long the blocks of an abandoned upload outlive its record, in milliseconds: what is held is never less than what the
/// record says.
const MARGIN: u64 = 60_000;

/// A function in the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Hold,
    Append,
    Seal,
    Read,
    Lease,
    Remove,
    Reserve,
    Release,
}

struct Source {
    hash: String,
    code: String,
}

impl Function {
    const ALL: [Self; 8] = [
        Self::Hold,
        Self::Append,
        Self::Seal,
        Self::Read,
        Self::Lease,
        Self::Remove,
        Self::Reserve,
        Self::Release,
    ];

    /// A call of it on `key`, to which its arguments are added; `extra` is how many of them, and how many bytes they have.
    pub(super) fn call(self, key: &str, extra: (usize, usize)) -> Cmd {
        let hash = self.hash();
        let mut call = Cmd::with_capacity(4 + extra.0, 64 + hash.len() + key.len() + extra.1);
        call.arg("EVALSHA").arg(hash).arg(1).arg(key);
        call
    }

    /// What the server calls it.
    pub(super) fn hash(self) -> &'static str {
        &SOURCES[self as usize].hash
    }

    fn text(self) -> (&'static str, bool) {
        // Those that need memory are refused when there is none; all others free it, or lead to its being freed.
        match self {
            Self::Append => (include_str!("scripts/append.lua"), true),
            Self::Reserve => (include_str!("scripts/reserve.lua"), true),
            Self::Hold => (include_str!("scripts/hold.lua"), false),
            Self::Seal => (include_str!("scripts/seal.lua"), false),
            Self::Read => (include_str!("scripts/read.lua"), false),
            Self::Lease => (include_str!("scripts/lease.lua"), false),
            Self::Remove => (include_str!("scripts/remove.lua"), false),
            Self::Release => (include_str!("scripts/release.lua"), false),
        }
    }

    fn source(self) -> Source {
        let (text, needs_memory) = self.text();
        let head = if needs_memory {
            ""
        } else {
            "#!lua flags=allow-oom\n"
        };
        let prelude = include_str!("scripts/prelude.lua");
        let code = format!("{head}local BLOCK, MARGIN = {BLOCK}, {MARGIN}\n{prelude}\n{text}");
        Source {
            hash: Script::new(&code).get_hash().to_owned(),
            code,
        }
    }
}

static SOURCES: LazyLock<[Source; 8]> = LazyLock::new(|| Function::ALL.map(Function::source));

/// Makes the functions known to the server, which forgets them when it stops.
pub(super) fn load() -> Pipeline {
    let mut pipeline = redis::pipe();
    for source in SOURCES.iter() {
        pipeline.add_command(cmd("SCRIPT").arg("LOAD").arg(&source.code).clone());
    }
    pipeline
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_function_finds_its_own_source() {
        for (number, function) in Function::ALL.into_iter().enumerate() {
            assert_eq!(function as usize, number);
        }
    }
}
