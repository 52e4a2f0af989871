//! News that are told together go in one message, since a message costs more than what is in it. It is routed to the shards of all
//! of them (`CC`, <https://www.rabbitmq.com/docs/sender-selected>), and arrives at a queue once. Each news is a line: the number of
//! its shard, a space, and JSON; so whoever does not want a shard need not read its news.

use super::{json, properties, publisher::Message, topology::Topology};
use crate::events::Shard;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use protocol::upload::Published;
use std::collections::{BTreeSet, VecDeque};

/// News of a message at most.
pub(super) const MAX_NEWS: usize = 64;

/// A message that has so many bytes takes no more news.
const FULL: usize = 48 << 10;

/// AMQP's number for messages that need not survive the broker.
const TRANSIENT: u8 = 1;

/// The messages for news, in the order given.
pub(super) fn pack(news: Vec<Published>) -> impl Iterator<Item = Message> {
    let mut news = news.into_iter().peekable();
    std::iter::from_fn(move || {
        news.peek()?;
        let (mut body, mut shards) = (Vec::new(), BTreeSet::new());
        let mut count = 0;
        while count < MAX_NEWS
            && body.len() < FULL
            && let Some(news) = news.next()
        {
            let shard = Shard::of(&news);
            body.extend_from_slice(format!("{} ", shard.index()).as_bytes());
            body.append(&mut json(&news));
            body.push(b'\n');
            shards.insert(shard);
            count += 1;
        }
        message(body, &shards)
    })
}

fn message(body: Vec<u8>, shards: &BTreeSet<Shard>) -> Option<Message> {
    let mut keys = shards.iter().copied().map(Topology::news_key);
    let key = keys.next()?;
    let others: Vec<_> = keys
        .map(|key| AMQPValue::LongString(key.as_str().into()))
        .collect();
    Some(Message {
        key,
        properties: also_to(properties(TRANSIENT), others),
        body,
    })
}

fn also_to(properties: BasicProperties, keys: Vec<AMQPValue>) -> BasicProperties {
    if keys.is_empty() {
        return properties;
    }
    let mut headers = FieldTable::default();
    headers.insert("CC".into(), AMQPValue::FieldArray(keys.into()));
    properties.with_headers(headers)
}

/// The news of a message that are of these shards, in order. Lines that can't be read are passed over.
pub(super) fn unpack(body: &[u8], wanted: &BTreeSet<Shard>) -> VecDeque<Published> {
    let lines = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines.filter_map(|line| read(line, wanted)).collect()
}

fn read(line: &[u8], wanted: &BTreeSet<Shard>) -> Option<Published> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    let shard = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
    if !wanted.contains(&Shard::at(shard)?) {
        return None;
    }
    let news = serde_json::from_slice(&line[space + 1..]);
    news.inspect_err(|error| tracing::warn!(%error, "unreadable news are passed over"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{TenantId, Topic, UserId, event::Notification};

    fn news(topic: Topic, offset: u64) -> Published {
        let notification = Notification {
            topic,
            epoch: "1".to_owned(),
            offset,
            event: "file.cached".to_owned(),
            time: Default::default(),
            data: serde_json::json!({ "name": "two\nlines" }),
        };
        Published {
            tenant: TenantId::default(),
            notification,
        }
    }

    fn offsets(messages: &[Message], wanted: &BTreeSet<Shard>) -> Vec<u64> {
        let news = messages
            .iter()
            .flat_map(|message| unpack(&message.body, wanted));
        news.map(|news| news.notification.offset).collect()
    }

    #[test]
    fn who_wants_all_shards_gets_all_news_in_order() {
        let topic = |number: u64| match number % 2 {
            0 => Topic::Admin,
            _ => Topic::User(UserId::new()),
        };
        let messages: Vec<_> =
            pack((0..150).map(|number| news(topic(number), number)).collect()).collect();
        assert_eq!(messages.len(), 150_usize.div_ceil(MAX_NEWS));
        assert_eq!(
            offsets(&messages, &Shard::all().collect()),
            (0..150).collect::<Vec<_>>()
        );
        let admin = BTreeSet::from([Shard::ADMIN]);
        assert_eq!(
            offsets(&messages, &admin),
            (0..150).step_by(2).collect::<Vec<_>>()
        );
        assert!(offsets(&messages, &BTreeSet::new()).is_empty());
    }

    #[test]
    fn a_message_goes_to_the_shards_of_its_news_and_nowhere_else() {
        let one = news(Topic::Admin, 1);
        let messages: Vec<_> = pack(vec![one.clone(), one]).collect();
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].key.as_str(), "news.admin");
        assert!(messages[0].properties.headers().is_none());
        let user = Topic::User(UserId::new());
        let both = pack(vec![news(user, 1), news(Topic::Admin, 1)]).next();
        let headers = both
            .as_ref()
            .and_then(|message| message.properties.headers().as_ref());
        let cc = headers
            .and_then(|headers| headers.inner().get("CC"))
            .and_then(AMQPValue::as_array);
        assert_eq!(cc.map(|keys| keys.as_slice().len()), Some(1));
        assert!(pack(Vec::new()).next().is_none());
    }

    #[test]
    fn what_makes_no_sense_is_passed_over() {
        let all = Shard::all().collect();
        let good = pack(vec![news(Topic::Admin, 7)])
            .next()
            .map(|message| message.body);
        let mut body = b"{}\n300 {}\n256 {\nx\n".to_vec();
        body.extend(good.unwrap_or_default());
        let heard = unpack(&body, &all);
        assert_eq!(heard.len(), 1);
    }
}
