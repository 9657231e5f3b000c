//! Where a connection's requests are served: one after the other, beside its other traffic.
use super::{Api, Reply, serve};
use crate::enforcement::Identity;
use bytes::Bytes;
use jitp_provisioner::Provisioner;
use jitp_provisioner::fleet::FleetRefusal;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::mpsc;

/// A PUBLISH to the topic of an API, authorised.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) api: Api,
    pub(crate) topic: Arc<str>,
    pub(crate) payload: Bytes,
    /// Correlation Data of MQTT 5.
    pub(crate) correlation: Option<Bytes>,
}

/// A connection's requests and answers. Made at its first request; most connections never have one. When it is dropped,
/// what is being served is brought to its end and nobody hears of it, and what waits is forgotten.
pub(crate) struct Desk {
    requests: mpsc::Sender<Request>,
    replies: mpsc::Receiver<Reply>,
    /// Answers that wait for the client's window.
    ready: VecDeque<Reply>,
    /// Packet ids of answers that the client has not acknowledged. They are the connection's, not the session's: an
    /// answer is never sent to whoever comes next.
    in_flight: Vec<u16>,
    bound: usize,
}

impl Desk {
    /// `bound`: requests that may wait, at least 1.
    pub(crate) fn open(provisioner: Provisioner, identity: Arc<Identity>, bound: usize) -> Self {
        let bound = bound.max(1);
        let (requests, mut waiting) = mpsc::channel::<Request>(bound);
        let (done, replies) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(request) = waiting.recv().await {
                if done.is_closed() {
                    return;
                }
                let reply = serve(&provisioner, &identity, &request).await;
                if done.send(reply).await.is_err() {
                    return;
                }
            }
        });
        Self { requests, replies, ready: VecDeque::new(), in_flight: Vec::new(), bound }
    }

    /// Puts a request at the end of the queue. If there is no room it is rejected at once; if even such rejections wait in
    /// great number, because the client takes nothing, it is forgotten and the result is `false`.
    pub(crate) fn submit(&mut self, request: Request) -> bool {
        match self.requests.try_send(request) {
            Ok(()) => true,
            // The task only ends with this desk, or by a defect in a service.
            Err(mpsc::error::TrySendError::Full(request) | mpsc::error::TrySendError::Closed(request)) => {
                let refusal = FleetRefusal::throttled();
                let has_room = self.ready.len() < self.bound;
                if has_room {
                    self.ready.push_back(Reply::rejected(&request, refusal.error, &refusal.message));
                }
                has_room
            }
        }
    }

    /// Waits for an answer, while none is ready to be sent. Cancel-safe.
    pub(crate) async fn wait(&mut self) {
        if self.ready.is_empty()
            && let Some(reply) = self.replies.recv().await
        {
            self.ready.push_back(reply);
            return;
        }
        std::future::pending().await
    }

    /// The answer to send next, if there is one.
    pub(crate) fn take(&mut self) -> Option<Reply> {
        if self.ready.is_empty() {
            return self.replies.try_recv().ok();
        }
        self.ready.pop_front()
    }

    /// It could not be sent yet.
    pub(crate) fn put_back(&mut self, reply: Reply) {
        self.ready.push_front(reply);
    }

    /// An answer was written with this packet id.
    pub(crate) fn sent(&mut self, packet_id: u16) {
        self.in_flight.push(packet_id);
    }

    /// Has the client not acknowledged an answer with this packet id yet?
    pub(crate) fn is_in_flight(&self, packet_id: u16) -> bool {
        self.in_flight.contains(&packet_id)
    }

    /// The client has acknowledged this packet id. Was it that of an answer?
    pub(crate) fn acknowledged(&mut self, packet_id: u16) -> bool {
        let position = self.in_flight.iter().position(|sent| *sent == packet_id);
        position.map(|position| self.in_flight.swap_remove(position)).is_some()
    }
}
