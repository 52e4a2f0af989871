//! Both ends of a session, stepped in virtual time over a link that breaks, damages and delays: every file arrives whole,
//! and once.

use super::{
    RULES,
    cloud::{Cloud, digest},
    gateway::{Down, Gateway},
    moment,
};
use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use protocol::{
    UploadKey,
    frame::Chunk,
    message::{ClientMessage, Connect, ServerMessage},
    session::{
        client::{self, Event, Outcome, Outgoing, Sender, TransferId},
        server::Input,
    },
    upload::FileMeta,
};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};
use uuid::Uuid;

/// Steps after which a world in which nothing fails any more must have come to rest.
const PATIENCE: usize = 20_000;

/// Chunks damaged in one world: a sender gives up a file that is damaged again and again.
const MAX_DAMAGE: u32 = 8;

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// One of the things that can go on does.
    Step(usize),
    /// The connection breaks: what is on its way is lost, and what the server was doing may still be done.
    Break,
    /// The first chunk on its way is damaged.
    Damage,
    /// The gateway of the connection that broke before, frozen until now, finishes something that it had begun.
    Late(usize),
    /// The next work of the server fails.
    Busy,
    /// An engine loses the last bytes that it held of one upload.
    Lose(usize, usize),
    /// The server drains and closes.
    Drain,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        40 => (0_usize..60).prop_map(Fate::Step),
        1 => Just(Fate::Break),
        1 => Just(Fate::Damage),
        2 => (0_usize..9).prop_map(Fate::Late),
        2 => Just(Fate::Busy),
        1 => (0_usize..3, 0_usize..80).prop_map(|(which, bytes)| Fate::Lose(which, bytes)),
        1 => Just(Fate::Drain),
    ];
    vec(fate, 0..400)
}

fn files() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(vec(any::<u8>(), 1..400), 1..6)
}

proptest! {
    #![proptest_config(super::config())]

    #[test]
    fn every_file_arrives_whole_and_once(files in files(), fates in fates()) {
        let mut world = World::new(files);
        for fate in fates {
            world.suffer(fate);
        }
        world.come_to_rest();
        world.check();
    }
}

#[test]
fn a_faultless_world_needs_one_connection() {
    let mut world = World::new(
        (1..=20)
            .map(|count| vec![count; usize::from(count) * 20])
            .collect(),
    );
    world.come_to_rest();
    world.check();
    assert_eq!(world.connections, 1);
}

/// A connection with what is on its way.
struct Link {
    up: VecDeque<Input>,
    down: VecDeque<Down>,
    gateway: Gateway,
}

/// What can go on.
#[derive(Clone, Copy, Debug)]
enum Step {
    Connect,
    Send,
    DeliverUp,
    DeliverDown,
    Work(usize),
}

struct World {
    now: Duration,
    files: Vec<Vec<u8>>,
    transfers: BTreeMap<TransferId, usize>,
    outcomes: BTreeMap<TransferId, Vec<Outcome>>,
    sender: Sender,
    /// What the sender wants sent next, once looked at.
    next: Option<client::Output>,
    link: Option<Link>,
    late: Option<Gateway>,
    cloud: Cloud,
    connections: u32,
    damaged: u32,
    busy: bool,
}

impl World {
    fn new(files: Vec<Vec<u8>>) -> Self {
        let mut sender = Sender::new(3);
        let add = |(index, file): (usize, &Vec<u8>)| {
            let meta = FileMeta {
                name: format!("{index}.bin"),
                size: file.len() as u64,
                content_type: None,
                digest: None,
                pool: None,
                captured_at: None,
                batch: None,
                title: None,
                description: None,
                tags: Vec::new(),
            };
            (
                sender.add(Outgoing {
                    key: key(index),
                    meta,
                }),
                index,
            )
        };
        Self {
            transfers: files.iter().enumerate().map(add).collect(),
            now: Duration::ZERO,
            files,
            outcomes: BTreeMap::new(),
            sender,
            next: None,
            link: None,
            late: None,
            cloud: Cloud::default(),
            connections: 0,
            damaged: 0,
            busy: false,
        }
    }

    fn suffer(&mut self, fate: Fate) {
        match fate {
            Fate::Step(choice) => {
                let steps = self.possible();
                match choice.checked_rem(steps.len()) {
                    Some(index) => self.take(steps[index]),
                    None => self.wait(),
                }
            }
            Fate::Break => self.break_link(),
            Fate::Damage => self.damage(),
            Fate::Late(choice) => self.finish_late(choice),
            Fate::Busy => self.busy = true,
            Fate::Lose(which, bytes) => self.cloud.lose(which, bytes),
            Fate::Drain => {
                if let Some(link) = &mut self.link {
                    link.gateway.say(
                        Input::Drain {
                            retry_after: Duration::from_millis(5),
                        },
                        self.now,
                        &mut link.down,
                    );
                }
            }
        }
    }

    /// Goes on without any further fault until there is nothing left to send.
    fn come_to_rest(&mut self) {
        self.busy = false;
        for turn in 0..PATIENCE {
            if self.sender.is_idle() {
                return;
            }
            let steps = self.possible();
            match turn.checked_rem(steps.len()) {
                Some(index) => self.take(steps[index]),
                None => self.wait(),
            }
        }
        panic!("the world does not come to rest");
    }

    fn check(&self) {
        for id in self.transfers.keys() {
            let outcomes = self.outcomes.get(id).map(Vec::as_slice).unwrap_or_default();
            assert!(
                matches!(outcomes, [Outcome::Held(_)]),
                "a file ended as {outcomes:?}"
            );
        }
        let mut made: Vec<_> = self.cloud.files.clone();
        made.sort();
        let sent: Vec<_> = self
            .files
            .iter()
            .enumerate()
            .map(|(index, file)| (key(index), file.clone()))
            .collect();
        assert_eq!(made, sent, "the files made are not those sent");
    }

    fn possible(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        match &self.link {
            None => steps.push(Step::Connect),
            Some(link) => {
                if !link.up.is_empty() && link.gateway.session.wants_input() {
                    steps.push(Step::DeliverUp);
                }
                if !link.down.is_empty() {
                    steps.push(Step::DeliverDown);
                }
                steps.extend((0..link.gateway.work_left()).map(Step::Work));
            }
        }
        while self.next.is_none() {
            match self.sender.poll_output(self.now) {
                Some(client::Output::Digest(transfer)) => {
                    self.sender
                        .set_digest(transfer, digest(&self.files[self.transfers[&transfer]]));
                }
                Some(output) => self.next = Some(output),
                None => break,
            }
        }
        if self.next.is_some() {
            steps.push(Step::Send);
        }
        steps
    }

    fn take(&mut self, step: Step) {
        match (step, &mut self.link) {
            (Step::Connect, _) => self.connect(),
            (Step::Send, _) => self.send(),
            (Step::DeliverUp, Some(link)) => {
                if let Some(input) = link.up.pop_front() {
                    link.gateway.say(input, self.now, &mut link.down);
                }
            }
            (Step::DeliverDown, Some(link)) => match link.down.pop_front() {
                Some(Down::Message(text)) => self.hear(&text),
                Some(Down::Close) => self.break_link(),
                None => {}
            },
            (Step::Work(index), Some(link)) => {
                if let Some(answer) =
                    link.gateway
                        .do_work(index, &mut self.cloud, std::mem::take(&mut self.busy))
                {
                    link.gateway.say(answer, self.now, &mut link.down);
                }
            }
            (_, None) => unreachable!("without a connection nothing is delivered"),
        }
        self.listen();
    }

    /// Nothing can go on: lets the time pass until something can.
    fn wait(&mut self) {
        let wakes = self.sender.next_timeout();
        let due = self
            .link
            .as_ref()
            .map(|link| link.gateway.session.deadline(moment(self.now)));
        let next = wakes
            .into_iter()
            .chain(due)
            .min()
            .expect("someone waits for something");
        self.now = self.now.max(next);
        let now = self.now;
        if let Some(link) = &mut self.link {
            link.gateway.session.tick(moment(now));
            link.gateway.drain(now, &mut link.down);
        }
    }

    fn connect(&mut self) {
        self.connections += 1;
        let connect = ClientMessage::Connect(Connect {
            id: 0,
            ..Connect::default()
        });
        let gateway = Gateway::new(self.now);
        self.link = Some(Link {
            up: VecDeque::from([text(&connect)]),
            down: VecDeque::new(),
            gateway,
        });
    }

    fn break_link(&mut self) {
        if let Some(link) = self.link.take() {
            self.late = Some(link.gateway);
        }
        self.next = None;
        self.sender.disconnected();
    }

    /// Its session is gone: whatever comes of the work, nobody hears of it.
    fn finish_late(&mut self, choice: usize) {
        let Some(late) = &mut self.late else { return };
        if let Some(index) = choice.checked_rem(late.work_left()) {
            late.do_work(index, &mut self.cloud, false);
        }
    }

    fn send(&mut self) {
        let Some(output) = self.next.take() else {
            return;
        };
        let link = self
            .link
            .as_mut()
            .expect("a sender sends only while connected");
        match output {
            client::Output::Message(message) => link.up.push_back(text(&message)),
            client::Output::Chunk(chunk) => {
                if self.sender.is_open(chunk.stream) {
                    let file = &self.files[self.transfers[&chunk.transfer]];
                    let (begin, end) = (chunk.offset as usize, (chunk.offset + chunk.len) as usize);
                    let payload = Bytes::copy_from_slice(&file[begin..end]);
                    link.up.push_back(Input::Binary(
                        Chunk::new(chunk.stream, chunk.offset, payload).encode(),
                    ));
                }
            }
            client::Output::Digest(_) => {
                unreachable!("a digest is told as soon as it is asked for")
            }
        }
    }

    fn hear(&mut self, text: &str) {
        let message: ServerMessage =
            serde_json::from_str(text).expect("a message of the server can be read");
        match message {
            ServerMessage::Connected(connected) => self.sender.connected(connected.limits),
            ServerMessage::Draining(_) => self.sender.draining(),
            message => _ = self.sender.handle(&message, self.now),
        }
    }

    fn listen(&mut self) {
        while let Some(event) = self.sender.poll_event() {
            match event {
                Event::Ended { transfer, outcome } => {
                    self.outcomes.entry(transfer).or_default().push(outcome);
                }
                Event::Progress { sent, acked, .. } => {
                    assert!(
                        acked <= sent && sent - acked <= RULES.limits.window_bytes,
                        "{acked} acknowledged of {sent} sent"
                    );
                }
                Event::Started { .. } | Event::Waiting { .. } => {}
            }
        }
    }

    fn damage(&mut self) {
        let Some(link) = self.link.as_mut().filter(|_| self.damaged < MAX_DAMAGE) else {
            return;
        };
        for input in &mut link.up {
            if let Input::Binary(frame) = input {
                let mut damaged = frame.to_vec();
                *damaged.last_mut().expect("a chunk has a payload") ^= 0x10;
                *frame = damaged.into();
                self.damaged += 1;
                return;
            }
        }
    }
}

fn key(index: usize) -> UploadKey {
    UploadKey(Uuid::from_u128(index as u128 + 1))
}

fn text(message: &ClientMessage) -> Input {
    Input::Text(serde_json::to_string(message).expect("a message of the client can be written"))
}
