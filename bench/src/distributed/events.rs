//! Events: from the commit of a file's outbox entry to the word of its outcome at its owner's socket, beside the bare broker.
//!
//! Storing is left out: the benchmark takes the place of the file-manager, consumes the queued work and reports success at once. What
//! is left is what any file costs: outbox, queue, report, commit, notification, news, socket.

use super::{
    bill::Bill,
    site::{self, Shared, Site},
};
use crate::{
    Result,
    lab::Lab,
    scenario::{Contender, Figure, Part, Sample, Scenario, Skip},
    upload::{
        Plan, Volley,
        generator::{Clients, Kept},
    },
};
use async_trait::async_trait;
use futures::StreamExt;
use jiff::Timestamp;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use protocol::upload::{
    AttemptOutcome, PersistFile, StatusesUpdated, UpdateStatus, UpdateStatuses,
};
use service_kit::{
    internal::Keys,
    peer::{Peer, PeerConfig},
};
use sluice::Role;
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Reports under way at once, and messages that a consumer holds.
const HELD: u16 = 256;

/// Reports of one call at most. The file-manager, too, has those share a call that wait while others are under way.
const TOGETHER: usize = 64;

/// Messages that may be unconfirmed.
const WINDOW: usize = 256;

/// How many files at the beginning and at the end are not counted: as many as the uploader lets be queued at once by default, and
/// those of the beginning are queued before anybody takes them.
const UNCOUNTED: usize = 1024;

/// Bytes of a message of the floor: about what work and news of a file have.
const MESSAGE: usize = 700;

const CLIENTS: usize = 16;

const EVENTS_PER_S: Figure = Figure {
    name: "events",
    unit: "1/s",
    digits: 0,
};

const fn cpu(name: &'static str) -> Figure {
    Figure {
        name,
        unit: "ms",
        digits: 3,
    }
}

/// CPU time per event.
const CPU: [(&str, Figure); 4] = [
    ("gateway", cpu("gateway cpu per event")),
    ("uploader", cpu("uploader cpu per event")),
    ("rabbitmq", cpu("RabbitMQ cpu per event")),
    ("postgres", cpu("PostgreSQL cpu per event")),
];

const GENERATOR: Figure = cpu("generator cpu per event");

/// The scenario.
pub(super) struct Events;

impl Scenario for Events {
    fn name(&self) -> &str {
        "distributed-events"
    }

    fn about(&self) -> String {
        "distributed: files of a byte, from the outbox to the word of their outcome at a socket, beside bare quorum publish and \
         consume"
            .to_owned()
    }

    fn contenders(&self, lab: &Lab) -> Vec<Box<dyn Contender>> {
        let (site, files) = (Shared::default(), lab.size(6400, 64));
        let subject = Subject {
            site: site.clone(),
            files,
        };
        let floor = Floor {
            site,
            messages: lab.size(20_000, 200),
        };
        vec![Box::new(subject), Box::new(floor)]
    }
}

/// A site without a file-manager.
async fn get(site: &Shared, lab: &Lab) -> Result<Arc<Site>> {
    site.with(lab, &[Role::Auth, Role::Uploader, Role::Gateway])
        .await
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn per_second(events: usize, wall: Duration) -> f64 {
    events as f64 / wall.as_secs_f64()
}

/// How many a second there were in the middle of the stretch, where as many are under way at its beginning as at its end.
fn steady_rate(outcomes: &[Instant]) -> f64 {
    let uncounted = UNCOUNTED.min(outcomes.len() / 4);
    let (first, last) = (uncounted, outcomes.len() - 1 - uncounted);
    per_second(last - first, outcomes[last] - outcomes[first])
}

/// `events` are those of the whole stretch.
#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn figures_of(rate: f64, events: usize, bill: &Bill) -> Sample {
    let events = events as f64;
    let mut sample = Sample::default().with(EVENTS_PER_S, rate);
    for (part, figure) in CPU {
        sample = sample.with(figure, bill.cpu(part) * 1e3 / events);
    }
    sample.with(GENERATOR, bill.of_generator() * 1e3 / events)
}

struct Subject {
    site: Shared,
    files: usize,
}

#[async_trait]
impl Contender for Subject {
    fn name(&self) -> String {
        "Sluice, distributed".to_owned()
    }

    fn part(&self) -> Part {
        Part::Subject
    }

    async fn prepare(&mut self, lab: &Lab) -> Result<String, Skip> {
        site::prepare(lab)
    }

    async fn round(&mut self, lab: &Lab) -> Result<Sample> {
        let site = get(&self.site, lab).await?;
        let plan = Arc::new(Plan::new(CLIENTS, self.files / CLIENTS, 1));
        let tokens = site.tokens(CLIENTS).await?;
        let mut clients = Clients::ready(site.gateway, &plan, tokens, Kept::Nowhere).await?;
        clients.send().await?;
        lab.settle().await;
        let stand_in = StandIn::new(&site)?;
        let channel = channel(site.engines.rabbitmq.url()).await?;
        let meters = site.meters()?;
        let consuming = tokio::spawn(stand_in.consume(channel, plan.files()));
        let outcomes = clients.until_stored().await?;
        let bill = meters.stop()?;
        consuming.await??;
        site.check().await?;
        Ok(figures_of(steady_rate(&outcomes), plan.files(), &bill))
    }
}

/// What reports success on every file at once.
#[derive(Clone)]
struct StandIn {
    uploader: Peer,
    queue: ShortString,
}

impl StandIn {
    fn new(site: &Site) -> Result<Self> {
        let address = format!("http://{}", site.plan.internal(Role::Uploader, 0));
        let keys = Arc::new(Keys::parse(&site.plan.keys().into())?);
        let uploader = Peer::remote("uploader", &[address], keys, &PeerConfig::default())?;
        let prefix = site.plan.stores().events.split_once("prefix=");
        let (_, prefix) = prefix.ok_or("the URL of the broker has a prefix")?;
        Ok(Self {
            uploader,
            queue: format!("{prefix}.work").into(),
        })
    }

    async fn consume(self, channel: Channel, files: usize) -> Result<()> {
        let deliveries = consumer(&channel, self.queue.clone()).await?;
        let mut deliveries = deliveries.ready_chunks(TOGETHER);
        let mut reports: JoinSet<Result<()>> = JoinSet::new();
        let mut reported = 0;
        while reported < files {
            let together = deliveries.next().await.ok_or("the queue ended")?;
            let together = together.into_iter().collect::<Result<Vec<_>, _>>()?;
            reported += together.len();
            reports.spawn(report(self.uploader.clone(), together));
        }
        while let Some(report) = reports.join_next().await {
            report??;
        }
        Ok(())
    }
}

async fn report(uploader: Peer, deliveries: Vec<Delivery>) -> Result<()> {
    let of = |delivery: &Delivery| {
        let work: PersistFile = serde_json::from_slice(&delivery.data)?;
        let outcome = AttemptOutcome::UploadedSuccessfully {
            stored_at: Timestamp::now(),
        };
        Ok(UpdateStatus {
            upload_id: work.upload.upload_id,
            attempt: work.attempt,
            outcome,
        })
    };
    let reports = deliveries.iter().map(of).collect::<Result<_>>()?;
    let reports = UpdateStatuses { reports };
    let updated: StatusesUpdated = uploader.put_json("/file/update/statuses", &reports).await?;
    if updated.statuses.len() != deliveries.len() {
        return Err("not all reports were answered".into());
    }
    for delivery in deliveries {
        delivery.acker.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}

struct Floor {
    site: Shared,
    messages: usize,
}

#[async_trait]
impl Contender for Floor {
    fn name(&self) -> String {
        "floor, quorum queue".to_owned()
    }

    fn part(&self) -> Part {
        Part::Floor
    }

    async fn prepare(&mut self, lab: &Lab) -> Result<String, Skip> {
        site::prepare(lab)?;
        Ok(format!(
            "one publisher with {WINDOW} unconfirmed at most and one consumer that acknowledges each; persistent, {MESSAGE} bytes"
        ))
    }

    async fn round(&mut self, lab: &Lab) -> Result<Sample> {
        let site = get(&self.site, lab).await?;
        let url = site.engines.rabbitmq.url();
        let (publishing, consuming) = (channel(url).await?, channel(url).await?);
        let queue: ShortString = "floor".into();
        declare(&publishing, queue.clone()).await?;
        lab.settle().await;
        let meters = site.meters()?;
        let publisher = tokio::spawn(publish(publishing.clone(), queue.clone(), self.messages));
        take(&consuming, queue.clone(), self.messages).await?;
        publisher.await??;
        let wall = meters.elapsed();
        let bill = meters.stop()?;
        publishing
            .queue_delete(queue, QueueDeleteOptions::default())
            .await?;
        let rate = per_second(self.messages, wall);
        Ok(figures_of(rate, self.messages, &bill))
    }
}

async fn channel(url: &str) -> Result<Channel> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(HELD, BasicQosOptions::default()).await?;
    Ok(channel)
}

async fn consumer(channel: &Channel, queue: ShortString) -> Result<lapin::Consumer> {
    let options = BasicConsumeOptions::default();
    Ok(channel
        .basic_consume(queue, "".into(), options, FieldTable::default())
        .await?)
}

async fn declare(channel: &Channel, queue: ShortString) -> Result<()> {
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel.queue_declare(queue, options, arguments).await?;
    let options = ConfirmSelectOptions::default();
    Ok(channel.confirm_select(options).await?)
}

async fn publish(channel: Channel, queue: ShortString, messages: usize) -> Result<()> {
    let body = vec![b'x'; MESSAGE];
    let mut unconfirmed = VecDeque::with_capacity(WINDOW);
    for _ in 0..messages {
        if unconfirmed.len() == WINDOW
            && let Some(oldest) = unconfirmed.pop_front()
        {
            confirmed(oldest).await?;
        }
        // 2 says that a message survives the broker.
        let properties = BasicProperties::default().with_delivery_mode(2);
        let options = BasicPublishOptions::default();
        let sent = channel.basic_publish("".into(), queue.clone(), options, &body, properties);
        unconfirmed.push_back(sent.await?);
    }
    for confirm in unconfirmed {
        confirmed(confirm).await?;
    }
    Ok(())
}

async fn confirmed(confirm: impl Future<Output = lapin::Result<Confirmation>>) -> Result<()> {
    match confirm.await? {
        Confirmation::Ack(_) => Ok(()),
        other => Err(format!("not confirmed: {other:?}").into()),
    }
}

async fn take(channel: &Channel, queue: ShortString, messages: usize) -> Result<()> {
    let mut deliveries = consumer(channel, queue).await?;
    for _ in 0..messages {
        let delivery = deliveries.next().await.ok_or("the queue ended")??;
        delivery.acker.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}
