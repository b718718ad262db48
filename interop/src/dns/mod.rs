//! DNS services of known capacity, our own or Knot DNS under a brake, and clients that count who answered: load for a farm,
//! and its measure.

pub mod brake;
pub mod client;
pub mod dnsperf;
pub mod knot;
pub mod responder;

use std::net::Ipv6Addr;

use anyhow::{Context, Result, bail};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{AAAA, TXT},
    },
};

/// A query for the server's name.
pub fn query(id: u16) -> Result<Vec<u8>> {
    let mut message = Message::query();
    message.metadata.id = id;
    message.add_query(Query::query(Name::from_ascii("who.farm.example.").context("a name")?, RecordType::TXT));
    message.to_vec().context("encoding a query")
}

/// The answer of the server `name` to a query: its name as TXT, and an address as AAAA where that was asked.
pub fn answer(query: &[u8], name: &str) -> Result<Vec<u8>> {
    let query = Message::from_vec(query).context("decoding a query")?;
    if query.metadata.message_type != MessageType::Query {
        bail!("not a query");
    }
    let mut reply = Message::response(query.metadata.id, OpCode::Query);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.authoritative = true;
    if query.metadata.op_code != OpCode::Query {
        reply.metadata.response_code = ResponseCode::NotImp;
        return reply.to_vec().context("encoding a refusal");
    }
    for question in &query.queries {
        let data = match question.query_type() {
            RecordType::AAAA => RData::AAAA(AAAA(Ipv6Addr::LOCALHOST)),
            _ => RData::TXT(TXT::new(vec![name.to_owned()])),
        };
        reply.add_query(question.clone());
        reply.add_answer(Record::from_rdata(question.name().clone(), 0, data));
    }
    reply.to_vec().context("encoding an answer")
}

/// Reads an answer: the query's id and the name of the server that gave it.
pub fn read_answer(bytes: &[u8]) -> Result<(u16, String)> {
    let message = Message::from_vec(bytes).context("decoding an answer")?;
    if message.metadata.message_type != MessageType::Response {
        bail!("not a response");
    }
    for record in &message.answers {
        if let RData::TXT(text) = &record.data {
            let name = text.txt_data.first().map(|part| String::from_utf8_lossy(part).into_owned());
            return Ok((message.metadata.id, name.unwrap_or_default()));
        }
    }
    bail!("an answer without a TXT record")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_bears_the_query_id_and_the_servers_name() {
        let reply = answer(&query(4711).unwrap(), "s2").unwrap();
        assert_eq!(read_answer(&reply).unwrap(), (4711, "s2".to_owned()));
    }

    #[test]
    fn what_is_no_query_gets_no_answer() {
        let bytes = query(1).unwrap();
        for cut in 0..bytes.len() {
            assert!(answer(&bytes[..cut], "s1").is_err(), "cut at {cut}");
        }
        assert!(answer(&answer(&bytes, "s1").unwrap(), "s1").is_err());
    }
}
