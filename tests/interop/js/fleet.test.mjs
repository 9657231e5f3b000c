// The AWS IoT Device SDK for JavaScript: fleet provisioning with its identity client, over both versions of MQTT.
// Run by ../test_fleet.py, which starts the broker and makes the claim.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";

import sdk from "aws-iot-device-sdk-v2";

const { iot, iotidentity, mqtt, mqtt5 } = sdk;
const given = JSON.parse(readFileSync(process.env.JITP_GIVEN, "utf8"));
const options = { maxRequestResponseSubscriptions: 6, maxStreamingSubscriptions: 2, operationTimeoutInSeconds: 60 };

async function over5(cert, key, clientId) {
  const config = iot.AwsIotMqtt5ClientConfigBuilder.newDirectMqttBuilderWithMtlsFromPath("localhost", cert, key)
    .withCertificateAuthorityFromPath(undefined, given.ca)
    .withPort(given.port)
    .withConnectProperties({ clientId, keepAliveIntervalSeconds: 30 })
    .build();
  const client = new mqtt5.Mqtt5Client(config);
  const connected = new Promise((resolve, reject) => {
    client.once("connectionSuccess", resolve);
    client.once("connectionFailure", (event) => reject(event.error));
  });
  client.start();
  await connected;
  const stop = async () => {
    const stopped = new Promise((resolve) => client.once("stopped", resolve));
    client.stop();
    await stopped;
    client.close();
  };
  return { identity: () => iotidentity.IotIdentityClientv2.newFromMqtt5(client, options), stop };
}

async function over311(cert, key, clientId) {
  const config = iot.AwsIotMqttConnectionConfigBuilder.new_mtls_builder_from_path(cert, key)
    .with_certificate_authority_from_path(undefined, given.ca)
    .with_endpoint("localhost")
    .with_port(given.port)
    .with_client_id(clientId)
    .with_clean_session(true)
    .build();
  const connection = new mqtt.MqttClient().new_connection(config);
  await connection.connect();
  return {
    identity: () => iotidentity.IotIdentityClientv2.newFromMqtt311(connection, options),
    stop: () => connection.disconnect(),
  };
}

for (const [serial, connect] of [["javascript-1", over5], ["javascript-2", over311]]) {
  test(`${serial} gets its own certificate and comes back with it`, async () => {
    const claim = await connect(given.cert, given.key, `boot-${serial}`);
    const identity = claim.identity();
    const made = await identity.createKeysAndCertificate({});
    assert.match(made.certificateId, /^[0-9a-f]{64}$/);
    const request = { templateName: "pumps", certificateOwnershipToken: made.certificateOwnershipToken };
    await assert.rejects(identity.registerThing({ ...request, parameters: {} }), (error) => {
      assert.equal(error.modeledError.statusCode, 400);
      assert.equal(error.modeledError.errorCode, "InvalidParameters");
      return true;
    });
    const registered = await identity.registerThing({ ...request, parameters: { Serial: serial } });
    assert.equal(registered.thingName, serial);
    assert.equal(registered.deviceConfiguration.interval, "30");
    identity.close();
    await claim.stop();
    const [cert, key] = [join(given.directory, `${serial}.pem`), join(given.directory, `${serial}.key`)];
    writeFileSync(cert, made.certificatePem);
    writeFileSync(key, made.privateKey, { mode: 0o600 });
    const own = await connect(cert, key, serial);
    await own.stop();
  });
}

// The SDK's threads hold on to what they have for some seconds. If Node takes its environment apart at that moment they abort the
// process: it leaves before.
after(() => setImmediate(() => process.exit()));
