"""The AWS IoT Device SDK v2 for Python (awscrt): user name without password, SNI even for an IP address."""

from concurrent.futures import Future

from awscrt import mqtt, mqtt5
from awsiot import mqtt5_client_builder, mqtt_connection_builder

from conftest import PATIENCE


def test_mqtt_3_1_1_provisions_and_echoes(broker, factory):
    for host in ("localhost", "127.0.0.1"):
        name = f"crt3-{host.replace('.', '-')}"
        certificate, key, _ = factory.device(name)
        connection = mqtt_connection_builder.mtls_from_path(
            endpoint=host, port=broker.port, cert_filepath=str(certificate), pri_key_filepath=str(key),
            ca_filepath=str(broker.ca), client_id=name, clean_session=True, keep_alive_secs=30)
        connection.connect().result(PATIENCE)
        heard = Future()
        subscribed, _ = connection.subscribe(f"dev/{name}/#", mqtt.QoS.AT_LEAST_ONCE,
                                             callback=lambda topic, payload, **_: heard.set_result((topic, payload)))
        assert subscribed.result(PATIENCE)["qos"] == mqtt.QoS.AT_LEAST_ONCE
        published, _ = connection.publish(f"dev/{name}/up", "hello", mqtt.QoS.AT_LEAST_ONCE)
        published.result(PATIENCE)
        assert heard.result(PATIENCE) == (f"dev/{name}/up", b"hello")
        connection.disconnect().result(PATIENCE)
        assert broker.iot().describe_thing(thingName=name)["thingName"] == name


def test_mqtt_5_provisions_and_echoes(broker, factory):
    name = "crt5"
    certificate, key, _ = factory.device(name)
    connected, stopped, heard = Future(), Future(), Future()
    client = mqtt5_client_builder.mtls_from_path(
        endpoint="localhost", port=broker.port, cert_filepath=str(certificate), pri_key_filepath=str(key),
        ca_filepath=str(broker.ca), client_id=name,
        on_publish_received=lambda data: heard.set_result(data.publish_packet),
        on_lifecycle_connection_success=lambda data: connected.set_result(data),
        on_lifecycle_connection_failure=lambda data: connected.set_exception(data.exception),
        on_lifecycle_stopped=lambda data: stopped.set_result(data))
    client.start()
    negotiated = connected.result(PATIENCE).negotiated_settings
    assert negotiated.receive_maximum_from_server == 100
    assert negotiated.maximum_packet_size_to_server == 149504
    granted = client.subscribe(mqtt5.SubscribePacket(
        subscriptions=[mqtt5.Subscription(topic_filter=f"dev/{name}/#", qos=mqtt5.QoS.AT_LEAST_ONCE)])).result(PATIENCE)
    assert granted.reason_codes == [mqtt5.SubackReasonCode.GRANTED_QOS_1]
    client.publish(mqtt5.PublishPacket(topic=f"dev/{name}/up", payload=b"hello", qos=mqtt5.QoS.AT_LEAST_ONCE,
                                       user_properties=[mqtt5.UserProperty("a", "b")])).result(PATIENCE)
    packet = heard.result(PATIENCE)
    assert packet.payload == b"hello"
    assert [(p.name, p.value) for p in packet.user_properties] == [("a", "b")]
    client.stop()
    stopped.result(PATIENCE)


def test_alpn_selects_mqtt_with_certificates(broker, factory):
    from awscrt import io

    assert io.is_alpn_available()
    name = "crt-alpn"
    certificate, key, _ = factory.device(name)
    options = io.TlsContextOptions.create_client_with_mtls_from_path(str(certificate), str(key))
    options.override_default_trust_store_from_path(None, str(broker.ca))
    options.alpn_list = ["x-amzn-mqtt-ca"]
    connection = mqtt.Connection(
        client=mqtt.Client(io.ClientBootstrap.get_or_create_static_default(), io.ClientTlsContext(options)),
        host_name="localhost", port=broker.port, client_id=name, clean_session=True)
    connection.connect().result(PATIENCE)
    connection.disconnect().result(PATIENCE)
