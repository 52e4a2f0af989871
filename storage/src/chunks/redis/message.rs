//! What is sent to Redis in one go: commands, and content that stays where it lies.

use bytes::{BufMut, Bytes, BytesMut};
use redis::{Cmd, Pipeline};
use std::io::Write;

/// Content below this is copied: a piece of its own would cost more.
const COPIED: usize = 1024;

/// Commands, one behind the other, each of which is answered. To clone it copies no content.
#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    pieces: Vec<Bytes>,
    replies: usize,
}

/// A message that is being made.
#[derive(Default)]
pub(super) struct Builder {
    message: Message,
    end: BytesMut,
}

impl Message {
    /// Adds a command.
    pub(super) fn add(&mut self, command: &Cmd) {
        self.pieces.push(command.get_packed_command().into());
        self.replies += 1;
    }

    /// Answers that there will be.
    pub(super) fn replies(&self) -> usize {
        self.replies
    }

    /// What is to be written.
    pub(super) fn into_pieces(self) -> Vec<Bytes> {
        self.pieces
    }
}

impl From<Cmd> for Message {
    fn from(command: Cmd) -> Self {
        let mut message = Self::default();
        message.add(&command);
        message
    }
}

impl From<Pipeline> for Message {
    fn from(commands: Pipeline) -> Self {
        Self {
            pieces: vec![commands.get_packed_pipeline().into()],
            replies: commands.len(),
        }
    }
}

impl Builder {
    /// Begins a command of so many words, its name included.
    pub(super) fn command(&mut self, words: usize) -> &mut Self {
        self.message.replies += 1;
        self.line('*', words)
    }

    /// Adds a word.
    pub(super) fn word(&mut self, word: impl AsRef<[u8]>) -> &mut Self {
        let word = word.as_ref();
        self.line('$', word.len());
        self.end.put_slice(word);
        self.end.put_slice(b"\r\n");
        self
    }

    /// Adds a number as a word.
    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        self.word(number.to_string())
    }

    /// Adds a word that has these parts.
    pub(super) fn content(&mut self, parts: Vec<Bytes>) -> &mut Self {
        self.line('$', parts.iter().map(Bytes::len).sum());
        for part in parts {
            if part.len() < COPIED {
                self.end.put_slice(&part);
            } else {
                self.cut();
                self.message.pieces.push(part);
            }
        }
        self.end.put_slice(b"\r\n");
        self
    }

    /// The message.
    pub(super) fn finish(mut self) -> Message {
        self.cut();
        self.message
    }

    fn line(&mut self, sort: char, number: usize) -> &mut Self {
        // Memory takes everything.
        let _ = write!((&mut self.end).writer(), "{sort}{number}\r\n");
        self
    }

    fn cut(&mut self) {
        if !self.end.is_empty() {
            self.message.pieces.push(self.end.split().freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_stays_where_it_is() {
        let content = Bytes::from(vec![b'x'; 2000]);
        let mut builder = Builder::default();
        builder.command(3).word("SET").number(7);
        builder.content(vec![Bytes::from_static(b"few"), content.clone()]);
        builder.command(1).word("PING");
        let message = builder.finish();
        assert_eq!(message.replies(), 2);
        let pieces = message.into_pieces();
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces[0], "*3\r\n$3\r\nSET\r\n$1\r\n7\r\n$2003\r\nfew");
        assert_eq!(pieces[1].as_ptr(), content.as_ptr());
        assert_eq!(pieces[2], "\r\n*1\r\n$4\r\nPING\r\n");
    }
}
