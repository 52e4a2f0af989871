//! What a session sends: whole frames, in the order in which they were given. The session's driver and the fan-out share it, so
//! that a notification goes out at once where nothing waits, without waking anyone.

use bytes::{Buf, Bytes};
use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use tokio::io::AsyncWrite;

/// Frames given to the system in one call at most.
const MAX_SLICES: usize = 32;

/// The sending half of a socket.
pub(crate) struct Outlet<W>(Mutex<State<W>>);

struct State<W> {
    io: W,
    /// Frames that wait; of the first one some bytes may have been sent.
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    /// Whether some of the first frame was sent.
    begun: bool,
    /// When the last byte went; at first, when the connection was made.
    written_at: Instant,
    /// Since when something waits that the system did not take.
    stalled: Option<Instant>,
    /// Who sends what waits.
    sender: Option<Waker>,
    life: Life,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Open,
    /// Nothing is taken but what the driver says last.
    Ending,
    Broken,
}

/// What the fan-out needs of a socket.
pub(crate) trait Offer: Send + Sync {
    /// Sends a whole frame now if nothing waits. What the system does not take waits, and the driver is woken. Answers whether
    /// the frame was taken: not if more than `bound` bytes wait, nor when the session ends.
    ///
    /// Call it where tokio does not bound the work of a task (`unconstrained`): it would only queue beyond the bound.
    fn offer(&self, frame: &Bytes, bound: usize) -> bool;

    /// Queues a frame; whoever calls it sees to it that the driver sends it.
    fn queue(&self, frame: Bytes);
}

impl<W: AsyncWrite + Unpin> Outlet<W> {
    pub(crate) fn new(io: W) -> Self {
        Self(Mutex::new(State {
            io,
            queue: VecDeque::new(),
            queued_bytes: 0,
            begun: false,
            written_at: Instant::now(),
            stalled: None,
            sender: None,
            life: Life::Open,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a frame; [`poll_send`](Self::poll_send) sends it.
    pub(crate) fn push(&self, frame: Bytes) {
        self.lock().push(frame);
    }

    /// Sends what waits; ready when nothing waits any more. Whoever calls it is woken when there is more to send.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        match &mut state.sender {
            Some(sender) => sender.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        state.poll_send(cx)
    }

    /// Ends the stream.
    pub(crate) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().io).poll_shutdown(cx)
    }

    /// From now on the driver alone is heard.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        if state.life == Life::Open {
            state.life = Life::Ending;
        }
    }

    /// Drops what waits, but for a frame of which some was sent, and sends this one last.
    pub(crate) fn finish_with(&self, frame: Bytes) {
        let mut state = self.lock();
        let kept = usize::from(state.begun);
        state.queue.truncate(kept);
        state.queued_bytes = state.queue.iter().map(Bytes::len).sum();
        state.push(frame);
        if state.life == Life::Open {
            state.life = Life::Ending;
        }
    }

    /// Bytes that wait because the client does not read.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.lock().queued_bytes
    }

    /// Bytes that wait beside the largest frame: a long answer to a client that reads is no sign of a slow one.
    pub(crate) fn backlog(&self) -> usize {
        let state = self.lock();
        let largest = state.queue.iter().map(Bytes::len).max();
        state.queued_bytes - largest.unwrap_or(0)
    }

    /// For how long something has been waiting without anything being sent.
    pub(crate) fn stalled_for(&self) -> Duration {
        let state = self.lock();
        state.stalled.map_or(Duration::ZERO, |since| {
            since.max(state.written_at).elapsed()
        })
    }
}

impl<W: AsyncWrite + Unpin + Send> Offer for Outlet<W> {
    fn offer(&self, frame: &Bytes, bound: usize) -> bool {
        let mut state = self.lock();
        if state.life != Life::Open || state.queued_bytes > bound {
            return false;
        }
        let State { queue, io, .. } = &mut *state;
        let written = if queue.is_empty() {
            // Nobody waits to send, so nobody's waker is lost.
            Pin::new(io).poll_write(&mut Context::from_waker(Waker::noop()), frame)
        } else {
            Poll::Pending
        };
        let sent = match written {
            Poll::Ready(Ok(sent)) => sent,
            Poll::Pending => 0,
            Poll::Ready(Err(_)) => {
                state.life = Life::Broken;
                state.wake();
                return false;
            }
        };
        if sent > 0 {
            state.written_at = Instant::now();
        }
        if sent < frame.len() {
            state.begun |= sent > 0;
            state.push(frame.slice(sent..));
            state.stalled.get_or_insert_with(Instant::now);
            state.wake();
        }
        true
    }

    fn queue(&self, frame: Bytes) {
        self.push(frame);
    }
}

impl<W: AsyncWrite + Unpin> State<W> {
    fn push(&mut self, frame: Bytes) {
        self.queued_bytes += frame.len();
        self.queue.push_back(frame);
    }

    fn wake(&self) {
        if let Some(sender) = &self.sender {
            sender.wake_by_ref();
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.life == Life::Broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        while !self.queue.is_empty() {
            match self.poll_write(cx) {
                Poll::Ready(Ok(0)) => return self.broken(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(sent)) => self.sent(sent),
                Poll::Ready(Err(error)) => return self.broken(error),
                Poll::Pending => {
                    self.stalled.get_or_insert_with(Instant::now);
                    return Poll::Pending;
                }
            }
        }
        self.stalled = None;
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let io = Pin::new(&mut self.io);
        if self.queue.len() == 1 || !io.is_write_vectored() {
            return io.poll_write(cx, &self.queue[0]);
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut count = 0;
        for (slice, frame) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(frame);
            count += 1;
        }
        io.poll_write_vectored(cx, &slices[..count])
    }

    /// Notes that this many bytes of the queue went.
    fn sent(&mut self, mut sent: usize) {
        self.written_at = Instant::now();
        self.queued_bytes -= sent;
        while let Some(first) = self.queue.front_mut() {
            if sent < first.len() {
                first.advance(sent);
                self.begun |= sent > 0;
                return;
            }
            sent -= first.len();
            self.begun = false;
            self.queue.pop_front();
        }
        // Ten thousand idle sessions keep no memory for what they sent once.
        self.queue = VecDeque::new();
    }

    fn broken(&mut self, error: io::Error) -> Poll<io::Result<()>> {
        self.life = Life::Broken;
        Poll::Ready(Err(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::poll_fn,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };
    use tokio::io::{AsyncReadExt, DuplexStream};

    const BOUND: usize = 100;

    fn outlet(room: usize) -> (Outlet<DuplexStream>, DuplexStream) {
        let (server, client) = tokio::io::duplex(room);
        (Outlet::new(server), client)
    }

    fn frame(byte: u8, len: usize) -> Bytes {
        vec![byte; len].into()
    }

    /// A driver that counts how often it is woken.
    #[derive(Default)]
    struct Driver(AtomicUsize);

    impl std::task::Wake for Driver {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Driver {
        fn turn(self: &Arc<Self>, outlet: &Outlet<DuplexStream>) -> Poll<io::Result<()>> {
            outlet.poll_send(&mut Context::from_waker(&self.clone().into()))
        }

        fn woken(&self) -> usize {
            self.0.swap(0, Ordering::Relaxed)
        }
    }

    async fn read(client: &mut DuplexStream, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        client.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn what_is_offered_goes_at_once_and_wakes_nobody() {
        let (outlet, mut client) = outlet(64);
        let driver = Arc::new(Driver::default());
        assert!(driver.turn(&outlet).is_ready());
        assert!(outlet.offer(&frame(1, 10), BOUND));
        assert_eq!((outlet.queued_bytes(), driver.woken()), (0, 0));
        assert_eq!(read(&mut client, 10).await, [1; 10]);
    }

    #[tokio::test]
    async fn what_the_line_does_not_take_waits_in_order() {
        let (outlet, mut client) = outlet(15);
        let driver = Arc::new(Driver::default());
        assert!(driver.turn(&outlet).is_ready());
        outlet.push(frame(1, 10));
        assert!(outlet.offer(&frame(2, 10), BOUND), "behind what waits");
        assert_eq!(driver.woken(), 1);
        assert!(driver.turn(&outlet).is_pending());
        assert_eq!(outlet.queued_bytes(), 5);
        outlet.push(frame(3, 10));
        assert!(outlet.offer(&frame(4, 10), BOUND));
        let all = async {
            let send = poll_fn(|cx| outlet.poll_send(cx));
            let (sent, read) = tokio::join!(send, read(&mut client, 40));
            sent.unwrap();
            read
        };
        let expected: Vec<u8> = [1, 2, 3, 4]
            .into_iter()
            .flat_map(|byte| [byte; 10])
            .collect();
        assert_eq!(all.await, expected);
        assert_eq!(
            (outlet.queued_bytes(), outlet.stalled_for()),
            (0, Duration::ZERO)
        );
        assert_eq!(outlet.lock().queue.capacity(), 0);
    }

    #[tokio::test]
    async fn an_offer_that_fits_in_part_is_finished_by_the_driver() {
        let (outlet, mut client) = outlet(4);
        let driver = Arc::new(Driver::default());
        assert!(driver.turn(&outlet).is_ready());
        assert!(outlet.offer(&frame(1, 10), BOUND));
        assert_eq!((outlet.queued_bytes(), driver.woken()), (6, 1));
        let (sent, read) = tokio::join!(poll_fn(|cx| outlet.poll_send(cx)), read(&mut client, 10));
        sent.unwrap();
        assert_eq!(read, [1; 10]);
    }

    #[tokio::test]
    async fn a_slow_reader_is_offered_only_so_much() {
        let (outlet, _client) = outlet(1);
        let taken = (0..20)
            .filter(|_| outlet.offer(&frame(1, 30), BOUND))
            .count();
        // The last one begins below the bound.
        assert_eq!((taken, outlet.queued_bytes()), (4, 4 * 30 - 1));
        assert_eq!(outlet.backlog(), 3 * 30 - 1);
        assert!(outlet.stalled_for() > Duration::ZERO);
    }

    #[tokio::test]
    async fn nothing_is_offered_once_it_ends() {
        let (outlet, mut client) = outlet(64);
        outlet.end();
        assert!(!outlet.offer(&frame(1, 10), BOUND));
        outlet.push(frame(2, 5));
        poll_fn(|cx| outlet.poll_send(cx)).await.unwrap();
        assert_eq!(read(&mut client, 5).await, [2; 5]);
        poll_fn(|cx| outlet.poll_shutdown(cx)).await.unwrap();
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn the_last_frame_follows_one_that_was_begun() {
        for (room, expected) in [(4, vec![1; 10]), (10, Vec::new())] {
            let (outlet, mut client) = outlet(room);
            outlet.offer(&frame(1, 10), BOUND);
            outlet.push(frame(2, 10));
            if room == 10 {
                read(&mut client, 10).await;
            }
            outlet.finish_with(frame(3, 3));
            assert!(!outlet.offer(&frame(4, 10), BOUND));
            let expected = [expected, vec![3; 3]].concat();
            let (sent, read) = tokio::join!(
                poll_fn(|cx| outlet.poll_send(cx)),
                read(&mut client, expected.len())
            );
            sent.unwrap();
            assert_eq!(read, expected);
        }
    }

    #[tokio::test]
    async fn a_broken_line_takes_nothing_and_is_told_of() {
        let (outlet, client) = outlet(64);
        let driver = Arc::new(Driver::default());
        assert!(driver.turn(&outlet).is_ready());
        drop(client);
        assert!(!outlet.offer(&frame(1, 10), BOUND));
        assert_eq!(driver.woken(), 1);
        assert!(matches!(driver.turn(&outlet), Poll::Ready(Err(_))));
    }
}
