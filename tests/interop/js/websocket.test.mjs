// mqtt.js over WebSocket with a device certificate. Run by ../test_websocket.py, which starts the broker and the factory.
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import mqtt from "mqtt";

const given = JSON.parse(readFileSync(process.env.JITP_GIVEN, "utf8"));

function connect(device, options) {
  return mqtt.connectAsync(`wss://localhost:${given.port}/mqtt`, {
    clientId: device.name,
    ca: readFileSync(given.ca),
    cert: readFileSync(device.certificate),
    key: readFileSync(device.key),
    reconnectPeriod: 0,
    ...options,
  });
}

for (const [number, protocolVersion] of [4, 5].entries()) {
  test(`a device that nobody knows connects, subscribes and publishes with version ${protocolVersion}`, async () => {
    const device = given.devices[number];
    const client = await connect(device, { protocolVersion });
    const granted = await client.subscribeAsync(`dev/${device.name}/#`, { qos: 1 });
    assert.equal(granted[0].qos, 1);
    const message = once(client, "message");
    const payload = Buffer.alloc(100_000, "x");
    await client.publishAsync(`dev/${device.name}/large`, payload, { qos: 1 });
    const [topic, received] = await message;
    assert.equal(topic, `dev/${device.name}/large`);
    assert.ok(received.equals(payload));
    // Many at once share frames and reads.
    const names = new Set();
    const all = new Promise((resolve) => client.on("message", (topic) => names.add(topic).size === 200 && resolve()));
    await Promise.all([...Array(200).keys()].map((n) => client.publishAsync(`dev/${device.name}/${n}`, "x", { qos: 1 })));
    await all;
    await client.endAsync();
  });
}

test("a session that is kept is there again", async () => {
  const device = given.devices[0];
  const options = { protocolVersion: 5, clean: false, properties: { sessionExpiryInterval: 600 } };
  const first = await connect(device, options);
  await first.subscribeAsync(`dev/${device.name}/kept`, { qos: 1 });
  await first.endAsync();
  const again = mqtt.connect(`wss://localhost:${given.port}/mqtt`, { ...first.options, ...options });
  const [connack] = await once(again, "connect");
  assert.equal(connack.sessionPresent, true);
  await again.endAsync();
});
