//! A DNS query (RFC 1035) with EDNS (RFC 6891), by UDP or TCP, and the rcode and record that it must bring.
//!
//! Every query has a port and an id of its own. What is no answer to it (another id, another question, garbage) is passed
//! over, as anybody may send it: it is neither life nor death.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Found;
use crate::monitor::net::{self, ExchangeError};

/// How the query travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// In a datagram; once more by TCP if the answer is cut and a record is looked for.
    Udp,
    /// Over a connection of its own.
    Tcp,
}

/// A response code that may be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rcode {
    /// 0
    NoError,
    /// 1
    FormErr,
    /// 2
    ServFail,
    /// 3
    NxDomain,
    /// 4
    NotImp,
    /// 5
    Refused,
}

/// One query and what must come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsProbe {
    /// Where to.
    pub address: SocketAddr,
    /// How.
    pub transport: Transport,
    /// The name asked for.
    pub name: Name,
    /// The type asked for.
    pub record_type: RecordType,
    /// Whether the RD bit is set: a resolver is asked, no authoritative server.
    pub recursion: bool,
    /// The EDNS payload size; none: a query without EDNS.
    pub edns: Option<u16>,
    /// The response codes that are right.
    pub rcodes: Vec<Rcode>,
    /// The data of one record of the answer, as text, letters in any case.
    pub answer: Option<String>,
}

impl Rcode {
    pub(super) fn number(self) -> u16 {
        self as u16
    }
}

fn words(code: ResponseCode) -> String {
    match u16::from(code) {
        0 => "NOERROR".into(),
        1 => "FORMERR".into(),
        2 => "SERVFAIL".into(),
        3 => "NXDOMAIN".into(),
        4 => "NOTIMP".into(),
        5 => "REFUSED".into(),
        other => format!("rcode {other}"),
    }
}

/// A number that nobody can guess: the standard library's own seed.
pub(super) fn random_id() -> u16 {
    RandomState::new().build_hasher().finish() as u16
}

impl DnsProbe {
    /// One query, or two if the first answer is cut short.
    pub async fn ask(&self) -> Result<Found, ExchangeError> {
        let mut reply = match self.transport {
            Transport::Udp => self.over_udp().await?,
            Transport::Tcp => self.over_tcp().await?,
        };
        if reply.metadata.truncation && self.answer.is_some() && !self.has_record(&reply) {
            reply = self.over_tcp().await?;
        }
        self.judge(&reply)
    }

    /// The query in bytes.
    pub(super) fn query(&self, id: u16) -> Result<Vec<u8>, ExchangeError> {
        let mut message = Message::query();
        message.metadata.id = id;
        message.metadata.recursion_desired = self.recursion;
        message.add_query(Query::query(self.name.clone(), self.record_type));
        if let Some(size) = self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            message.set_edns(edns);
        }
        message.to_vec().map_err(|error| ExchangeError::Local(format!("encoding the query: {error}")))
    }

    async fn over_udp(&self) -> Result<Message, ExchangeError> {
        let id = random_id();
        let socket = net::udp(self.address).await?;
        socket.send(&self.query(id)?).await.map_err(|error| ExchangeError::of("send", &error))?;
        let mut buffer = vec![0; 65_535];
        loop {
            let length = socket.recv(&mut buffer).await.map_err(|error| ExchangeError::of("receive", &error))?;
            if let Some(reply) = buffer.get(..length).and_then(|bytes| self.reply(id, bytes)) {
                return Ok(reply);
            }
        }
    }

    async fn over_tcp(&self) -> Result<Message, ExchangeError> {
        let id = random_id();
        let query = self.query(id)?;
        let mut stream = net::tcp(self.address).await?;
        let mut framed = (query.len() as u16).to_be_bytes().to_vec();
        framed.extend(query);
        stream.write_all(&framed).await.map_err(|error| ExchangeError::of("send", &error))?;
        loop {
            let length = stream.read_u16().await.map_err(|error| ExchangeError::of("receive", &error))?;
            let mut bytes = vec![0; length.into()];
            stream.read_exact(&mut bytes).await.map_err(|error| ExchangeError::of("receive", &error))?;
            if let Some(reply) = self.reply(id, &bytes) {
                return Ok(reply);
            }
        }
    }

    /// The answer to our query, if these bytes are one.
    fn reply(&self, id: u16, bytes: &[u8]) -> Option<Message> {
        let message = Message::from_vec(bytes).ok()?;
        let ours = |query: &Query| query.name() == &self.name && query.query_type() == self.record_type;
        let question = match message.queries.as_slice() {
            [query] => ours(query),
            // Who did not understand the question need not repeat it.
            [] => message.metadata.response_code != ResponseCode::NoError,
            _ => false,
        };
        let answer = message.metadata.id == id && message.metadata.message_type == MessageType::Response;
        (answer && question).then_some(message)
    }

    fn has_record(&self, reply: &Message) -> bool {
        self.answer.as_ref().is_none_or(|wanted| {
            let plain = |text: &str| text.trim_end_matches('.').to_ascii_lowercase();
            reply.answers.iter().any(|record| plain(&record.data.to_string()) == plain(wanted))
        })
    }

    fn judge(&self, reply: &Message) -> Result<Found, ExchangeError> {
        let code = reply.metadata.response_code;
        if !self.rcodes.iter().any(|expected| expected.number() == u16::from(code)) {
            return Err(ExchangeError::Peer(words(code)));
        }
        if !self.has_record(reply) {
            let wanted = self.answer.as_deref().unwrap_or_default();
            return Err(ExchangeError::Peer(format!("{} without {wanted:?}", words(code))));
        }
        Ok(Found::good(words(code)))
    }
}
