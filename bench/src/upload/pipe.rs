//! A connection of the generator: vectored writes of what was built ahead, and replies in one small buffer.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
};
use tokio::{
    io::{AsyncReadExt, Interest},
    net::TcpStream,
};

/// Room for replies; a longer one makes the buffer grow.
const ROOM: usize = 4 << 10;

/// Slices given to the kernel in one call.
const SLICES: usize = 16;

/// How much of a long answer is read at once. What is larger misses the caches of the cores.
const THROUGH: usize = 256 << 10;

/// A TCP connection, and what has been read of it and not yet been taken.
#[derive(Debug)]
pub struct Pipe {
    stream: TcpStream,
    input: Vec<u8>,
    taken: usize,
    /// For what is passed on at once; made when it is first needed.
    through: Vec<u8>,
}

impl Pipe {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            input: Vec::with_capacity(ROOM),
            taken: 0,
            through: Vec::new(),
        })
    }

    /// What has been read and not been taken.
    #[must_use]
    pub fn input(&self) -> &[u8] {
        &self.input[self.taken..]
    }

    /// Takes so many bytes of the input.
    pub fn take(&mut self, bytes: usize) {
        self.taken += bytes;
        if self.taken == self.input.len() {
            self.input.clear();
            self.taken = 0;
        }
    }

    /// Waits for more input.
    ///
    /// # Errors
    /// When the connection is closed or broken.
    pub async fn read_more(&mut self) -> io::Result<()> {
        self.make_room();
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(closed()),
            _ => Ok(()),
        }
    }

    /// Reads at most so many bytes and passes them on instead of keeping them, when all input has been taken. Answers how many.
    ///
    /// # Errors
    /// When the connection is closed or broken.
    pub async fn read_through(
        &mut self,
        most: u64,
        each: &mut impl FnMut(&[u8]),
    ) -> io::Result<u64> {
        self.through.resize(THROUGH, 0);
        let room = usize::try_from(most).unwrap_or(THROUGH).min(THROUGH);
        match self.stream.read(&mut self.through[..room]).await? {
            0 => Err(closed()),
            read => {
                each(&self.through[..read]);
                Ok(read as u64)
            }
        }
    }

    /// Writes all of these, without copying them together.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn write_all(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let mut outgoing = Outgoing::new(parts);
        while !outgoing.is_empty() {
            if !self.try_write(&mut outgoing)? {
                self.stream.writable().await?;
            }
        }
        Ok(())
    }

    /// Writes what it can at once; whether anything could be written.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn try_write(&self, outgoing: &mut Outgoing<'_>) -> io::Result<bool> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = outgoing.fill(&mut slices);
        match self.stream.try_write_vectored(&slices[..count]) {
            Ok(written) => outgoing.advance(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Waits until there is input, which is read then, or, if `write`, until something can be written.
    ///
    /// # Errors
    /// When the connection is closed or broken.
    pub async fn turn(&mut self, write: bool) -> io::Result<()> {
        let interest = if write {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        let ready = self.stream.ready(interest).await?;
        if ready.is_readable() {
            self.make_room();
            match self.stream.try_read_buf(&mut self.input) {
                Ok(0) => return Err(closed()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn make_room(&mut self) {
        if self.input.capacity() - self.input.len() < ROOM / 4 {
            self.input.drain(..self.taken);
            self.taken = 0;
            self.input.reserve(ROOM);
        }
    }
}

fn closed() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the server closed the connection",
    )
}

/// Slices that are still to be written.
#[derive(Debug)]
pub struct Outgoing<'a> {
    parts: Vec<&'a [u8]>,
    /// The first part that is not written wholly.
    next: usize,
}

impl<'a> Outgoing<'a> {
    /// These, in order.
    #[must_use]
    pub fn new(parts: &[&'a [u8]]) -> Self {
        let parts = parts.iter().copied().filter(|part| !part.is_empty());
        Self {
            parts: parts.collect(),
            next: 0,
        }
    }

    /// Adds one behind the others.
    pub fn push(&mut self, part: &'a [u8]) {
        if !part.is_empty() {
            self.parts.push(part);
        }
    }

    /// Whether everything is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.next == self.parts.len()
    }

    fn fill(&self, slices: &mut [IoSlice<'a>]) -> usize {
        let parts = &self.parts[self.next..];
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
        }
        parts.len().min(slices.len())
    }

    fn advance(&mut self, mut written: usize) {
        while written > 0 {
            let part = &mut self.parts[self.next];
            let step = written.min(part.len());
            *part = &part[step..];
            written -= step;
            if part.is_empty() {
                self.next += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_gone() {
        let mut outgoing = Outgoing::new(&[b"abc", b"", b"de"]);
        outgoing.push(b"f");
        let mut slices = [IoSlice::new(&[]); 2];
        outgoing.advance(2);
        assert_eq!(outgoing.fill(&mut slices), 2);
        assert_eq!((&*slices[0], &*slices[1]), (&b"c"[..], &b"de"[..]));
        outgoing.advance(3);
        assert_eq!(outgoing.fill(&mut slices), 1);
        assert_eq!(&*slices[0], b"f");
        outgoing.advance(1);
        assert!(outgoing.is_empty());
    }
}
