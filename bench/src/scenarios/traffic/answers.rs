//! What a client says to what it reads: counted, and answered in one write.
use super::receiving::Receiving;
use crate::frames::{Frames, Packet};
use crate::mqtt;

/// What a read has brought.
#[derive(Default)]
pub struct Answers {
    /// Acknowledgements and the next steps of QoS 2, to be written now.
    pub bytes: Vec<u8>,
    /// Messages of ours that are acknowledged (QoS 1) or completed (QoS 2).
    pub settled: u64,
}

impl Answers {
    /// What was read before is answered.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.settled = 0;
    }

    /// Takes the next bytes of the stream.
    pub fn take(
        &mut self,
        frames: &mut Frames,
        bytes: &[u8],
        mut receiving: Option<&mut Receiving>,
    ) -> anyhow::Result<()> {
        let now = receiving.as_ref().and_then(|receiving| receiving.clock());
        frames.feed(bytes, |packet| {
            if packet.kind() == mqtt::PUBLISH
                && let Some(receiving) = &mut receiving
            {
                receiving.take(&packet, now);
            }
            self.answer(&packet);
        })
    }

    fn answer(&mut self, packet: &Packet<'_>) {
        let answer = match (packet.kind(), packet.qos()) {
            (mqtt::PUBLISH, 1) => mqtt::PUBACK,
            (mqtt::PUBLISH, 2) => mqtt::PUBREC,
            (mqtt::PUBREC, _) => mqtt::PUBREL,
            (mqtt::PUBREL, _) => mqtt::PUBCOMP,
            (mqtt::PUBACK | mqtt::PUBCOMP, _) => {
                self.settled += 1;
                return;
            }
            _ => return,
        };
        if let Some(id) = packet.packet_id() {
            mqtt::answer(&mut self.bytes, answer, id);
        }
    }
}
