//! Messages of the ceiling: passed on unread, the way a broker does that has nothing else to do. A connection that
//! subscribes with a wildcard hears everybody, any other hears itself; packet identifiers are passed on as they come.
use crate::frames::{Frames, Packet};
use crate::mqtt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_rustls::server::TlsStream;

/// Chunks that wait for a slow subscriber before publishers wait, too.
const CHUNKS: usize = 64;
const BUFFER: usize = 64 * 1024;

/// Packets as they came.
type Messages = Arc<[u8]>;

/// Who hears everybody.
#[derive(Clone, Default)]
pub struct Relay {
    subscribers: Arc<Mutex<Vec<Sender<Messages>>>>,
}

/// What one read has brought.
#[derive(Default)]
struct Read {
    answers: Vec<u8>,
    messages: Vec<u8>,
    wildcard: bool,
}

impl Relay {
    /// Serves a client, its CONNECT included, until it leaves.
    pub async fn serve(&self, mut stream: TlsStream<TcpStream>) -> anyhow::Result<()> {
        let mut frames = Frames::default();
        let mut buffer = vec![0; BUFFER];
        let (mut read, mut own) = (Read::default(), false);
        let mut mailbox: Option<Receiver<Messages>> = None;
        loop {
            tokio::select! {
                length = stream.read(&mut buffer) => {
                    let length = length?;
                    if length == 0 {
                        return Ok(());
                    }
                    read.clear();
                    frames.feed(buffer.get(..length).unwrap_or_default(), |packet| own |= read.take(&packet))?;
                    if read.wildcard && mailbox.is_none() {
                        mailbox = Some(self.subscribe());
                    }
                    if own {
                        read.answers.append(&mut read.messages);
                    }
                    if !read.answers.is_empty() {
                        stream.write_all(&read.answers).await?;
                        stream.flush().await?;
                    }
                    if !read.messages.is_empty() {
                        self.publish(Arc::from(read.messages.as_slice())).await;
                    }
                }
                Some(messages) = next(&mut mailbox) => {
                    stream.write_all(&messages).await?;
                    stream.flush().await?;
                }
            }
        }
    }

    fn subscribe(&self) -> Receiver<Messages> {
        let (sender, receiver) = channel(CHUNKS);
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|subscriber| !subscriber.is_closed());
        subscribers.push(sender);
        receiver
    }

    async fn publish(&self, messages: Messages) {
        let subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for subscriber in subscribers {
            // One that has left misses nothing.
            let _ = subscriber.send(messages.clone()).await;
        }
    }
}

async fn next(mailbox: &mut Option<Receiver<Messages>>) -> Option<Messages> {
    match mailbox {
        Some(mailbox) => mailbox.recv().await,
        None => std::future::pending().await,
    }
}

impl Read {
    fn clear(&mut self) {
        self.answers.clear();
        self.messages.clear();
        self.wildcard = false;
    }

    /// True: the client subscribes to a topic of its own.
    fn take(&mut self, packet: &Packet<'_>) -> bool {
        let mut answer = |kind| {
            if let Some(id) = packet.packet_id() {
                mqtt::answer(&mut self.answers, kind, id);
            }
        };
        match (packet.kind(), packet.qos()) {
            (mqtt::CONNECT, _) => self.answers.extend(mqtt::CONNECTED),
            (mqtt::PUBLISH, qos) => {
                match qos {
                    0 => {}
                    1 => answer(mqtt::PUBACK),
                    _ => answer(mqtt::PUBREC),
                }
                mqtt::again(&mut self.messages, packet.first, packet.body);
            }
            (mqtt::PUBREC, _) => answer(mqtt::PUBREL),
            (mqtt::PUBREL, _) => answer(mqtt::PUBCOMP),
            (mqtt::SUBSCRIBE, _) => {
                let [high, low] = packet.packet_id().unwrap_or_default().to_be_bytes();
                let granted = packet.body.last().copied().unwrap_or_default();
                mqtt::again(&mut self.answers, mqtt::SUBACK << 4, &[high, low, granted]);
                self.wildcard = packet.body.contains(&b'+');
                return !self.wildcard;
            }
            _ => {}
        }
        false
    }
}
