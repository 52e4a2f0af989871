//! Thousands of WebSockets on one thread. What a socket costs the load generator must be little beside what it costs the
//! server: no task, no buffer of its own while nothing is half read, frames built ahead and shared.

pub(crate) mod frames;

use crate::{Result, upload::frames::pong};
use bytes::{Buf, Bytes};
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    io::{self, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Bytes read at once.
const READ: usize = 256 << 10;

/// How long is waited for sockets to become ready.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the sockets do.
pub(crate) trait Script {
    /// A socket begins to connect.
    fn opening(&mut self, _who: usize) {}
    /// A socket is open.
    fn opened(&mut self, who: usize, post: &mut Post<'_>);
    /// A text came, read at this time.
    fn heard(&mut self, who: usize, text: &[u8], at: Instant, post: &mut Post<'_>);
    /// A time that was asked for has come.
    fn due(&mut self, _who: usize, _post: &mut Post<'_>) {}
    /// Sockets that have done what they had to.
    fn ready(&self) -> usize;
}

/// Sockets and what they wait for.
pub(crate) struct Swarm {
    poll: Poll,
    links: Vec<Link>,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    scratch: Vec<u8>,
    server: SocketAddr,
    upgrade: Bytes,
}

/// One socket.
struct Link {
    stream: TcpStream,
    is_open: bool,
    /// The beginning of a frame that has not come whole.
    partial: Vec<u8>,
    outgoing: VecDeque<Bytes>,
}

/// What a script can do with a socket.
pub(crate) struct Post<'a> {
    outgoing: &'a mut VecDeque<Bytes>,
    timers: &'a mut BinaryHeap<Reverse<(Instant, usize)>>,
    who: usize,
}

impl Post<'_> {
    /// Sends frames.
    pub(crate) fn send(&mut self, frames: Bytes) {
        self.outgoing.push_back(frames);
    }

    /// Asks to be called then.
    pub(crate) fn call_at(&mut self, when: Instant) {
        self.timers.push(Reverse((when, self.who)));
    }
}

impl Swarm {
    /// No sockets yet.
    pub(crate) fn new(server: SocketAddr) -> Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            links: Vec::new(),
            timers: BinaryHeap::new(),
            scratch: vec![0; READ],
            server,
            upgrade: frames::upgrade(),
        })
    }

    /// With another request that makes a connection a WebSocket.
    pub(crate) fn with_upgrade(mut self, upgrade: Bytes) -> Self {
        self.upgrade = upgrade;
        self
    }

    /// Sockets, open or being opened.
    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }

    /// Opens sockets until there are `wanted` and all are ready; at most `at_once` are not at a time.
    pub(crate) fn open(
        &mut self,
        wanted: usize,
        at_once: usize,
        script: &mut impl Script,
    ) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while script.ready() < wanted {
            while self.len() < wanted && self.len() - script.ready() < at_once {
                script.opening(self.len());
                self.connect()?;
            }
            self.turn(script, until)?;
        }
        Ok(())
    }

    /// Runs the script until so many sockets are ready.
    pub(crate) fn run(&mut self, wanted: usize, script: &mut impl Script) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while script.ready() < wanted {
            self.turn(script, until)?;
        }
        Ok(())
    }

    /// Keeps the sockets alive for a while; what they hear is dropped.
    pub(crate) fn idle(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step(&mut Silent, end)?;
        }
        Ok(())
    }

    /// Has one socket send frames.
    pub(crate) fn send(&mut self, who: usize, frames: Bytes) -> Result<()> {
        let link = &mut self.links[who];
        link.outgoing.push_back(frames);
        link.flush()
    }

    /// Has the script called about a socket then.
    pub(crate) fn call_at(&mut self, when: Instant, who: usize) {
        self.timers.push(Reverse((when, who)));
    }

    fn connect(&mut self) -> Result<()> {
        let mut stream = TcpStream::connect(self.server)?;
        let interests = Interest::READABLE | Interest::WRITABLE;
        let token = Token(self.links.len());
        self.poll
            .registry()
            .register(&mut stream, token, interests)?;
        self.links.push(Link {
            stream,
            is_open: false,
            partial: Vec::new(),
            outgoing: VecDeque::from([self.upgrade.clone()]),
        });
        Ok(())
    }

    fn turn(&mut self, script: &mut impl Script, until: Instant) -> Result<()> {
        if Instant::now() >= until {
            let (ready, len) = (script.ready(), self.len());
            return Err(format!("only {ready} of {len} sockets are ready in time").into());
        }
        self.step(script, until)
    }

    /// Waits for something to happen and has the script deal with it.
    fn step(&mut self, script: &mut impl Script, until: Instant) -> Result<()> {
        let next = self
            .timers
            .peek()
            .map_or(until, |Reverse((when, _))| until.min(*when));
        let mut events = Events::with_capacity(1024);
        match self.poll.poll(
            &mut events,
            Some(next.saturating_duration_since(Instant::now())),
        ) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            polled => polled?,
        }
        for event in &events {
            let who = event.token().0;
            if event.is_writable() {
                self.links[who].flush()?;
            }
            if event.is_readable() {
                self.read(who, script)?;
            }
        }
        self.call(script)
    }

    fn call(&mut self, script: &mut impl Script) -> Result<()> {
        let now = Instant::now();
        while let Some(&Reverse((when, who))) = self.timers.peek()
            && when <= now
        {
            self.timers.pop();
            script.due(
                who,
                &mut post(&mut self.links[who].outgoing, &mut self.timers, who),
            );
            self.links[who].flush()?;
        }
        Ok(())
    }

    fn read(&mut self, who: usize, script: &mut impl Script) -> Result<()> {
        loop {
            let link = &mut self.links[who];
            let read = match link.stream.read(&mut self.scratch) {
                Ok(0) => return Err(format!("the server ended socket {who}").into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("socket {who}: {error}").into()),
            };
            let at = Instant::now();
            self.take(who, read, at, script)?;
            // Less than there was room for is all there was; what comes later is told of.
            if read < self.scratch.len() {
                return Ok(());
            }
        }
    }

    /// Has the script deal with what was read into the scratch buffer.
    fn take(
        &mut self,
        who: usize,
        read: usize,
        at: Instant,
        script: &mut impl Script,
    ) -> Result<()> {
        let link = &mut self.links[who];
        let mut partial = std::mem::take(&mut link.partial);
        let bytes: &[u8] = if partial.is_empty() {
            &self.scratch[..read]
        } else {
            partial.extend_from_slice(&self.scratch[..read]);
            &partial
        };
        let mut used = 0;
        if !link.is_open {
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                link.partial = bytes.to_vec();
                return Ok(());
            };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                return Err(String::from_utf8_lossy(bytes).into());
            }
            used = end + 4;
            link.is_open = true;
            script.opened(who, &mut post(&mut link.outgoing, &mut self.timers, who));
        }
        while let Some(frame) = frames::first(&bytes[used..]) {
            used += frame.len;
            match frame.opcode {
                frames::TEXT => {
                    let mut post = post(&mut link.outgoing, &mut self.timers, who);
                    script.heard(who, frame.payload, at, &mut post);
                }
                frames::PING => link.outgoing.push_back(pong(frame.payload).into()),
                frames::CLOSE => return Err(closed(who, frame.payload).into()),
                _ => {}
            }
        }
        if used < bytes.len() {
            link.partial = bytes[used..].to_vec();
        }
        link.flush()
    }
}

fn post<'a>(
    outgoing: &'a mut VecDeque<Bytes>,
    timers: &'a mut BinaryHeap<Reverse<(Instant, usize)>>,
    who: usize,
) -> Post<'a> {
    Post {
        outgoing,
        timers,
        who,
    }
}

fn closed(who: usize, payload: &[u8]) -> String {
    let code = payload
        .first_chunk()
        .map_or(0, |code| u16::from_be_bytes(*code));
    let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default());
    format!("the server closed socket {who}: {code} {reason}")
}

impl Link {
    /// Sends as much as the system takes.
    fn flush(&mut self) -> Result<()> {
        while let Some(first) = self.outgoing.front_mut() {
            match self.stream.write(first) {
                Ok(written) => first.advance(written),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected
                    ) =>
                {
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
            if first.is_empty() {
                self.outgoing.pop_front();
            }
        }
        if self.outgoing.capacity() > 0 {
            self.outgoing = VecDeque::new();
        }
        Ok(())
    }
}

/// Drops what it hears.
struct Silent;

impl Script for Silent {
    fn opened(&mut self, _: usize, _: &mut Post<'_>) {}
    fn heard(&mut self, _: usize, _: &[u8], _: Instant, _: &mut Post<'_>) {}
    fn ready(&self) -> usize {
        0
    }
}
