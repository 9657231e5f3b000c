"""Certificates as OpenSSL makes them, over OpenSSL's TLS: what is let in, what is refused and why, and sessions that are resumed."""

import socket
import ssl

import pytest

from conftest import PATIENCE, certificate_id, openssl, wait_for

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)

EC = {f"P-{bits}": ("-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:P-{bits}") for bits in (256, 384, 521)}
RSA = {f"RSA-{bits}": ("-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{bits}") for bits in (2048, 3072)}
PSS_KEY = {"RSA-PSS": ("-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048")}
PSS_SIGNATURE = ("-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest")


class Authority:
    """A CA of any kind of key, and what it signs."""

    def __init__(self, directory, name, key, *signature):
        self.directory, self.signature = directory, signature or ("-sha256",)
        self.certificate, self.key = directory / f"{name}.ca.pem", directory / f"{name}.ca.key"
        openssl("genpkey", *key, "-out", self.key)
        openssl("req", "-x509", "-new", "-key", self.key, "-subj", f"/CN={name}", "-days", "30", *self.signature,
                "-addext", "keyUsage=critical,keyCertSign", "-out", self.certificate)

    def device(self, name, key=EC["P-256"], *signature, subject=None, more=()):
        """(certificate, key) as files."""
        stem = self.directory / name
        certificate, private, request = (stem.with_suffix(s) for s in (".pem", ".key", ".csr"))
        openssl("genpkey", *key, "-out", private)
        openssl("req", "-new", "-key", private, "-subj", subject or f"/OU=line-7/CN={name}", *more, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial", "-days", "30",
                *(signature or self.signature), "-out", certificate)
        return certificate, private

    def register(self, broker):
        iot = broker.iot()
        code = iot.get_registration_code()["registrationCode"]
        proof = self.device("proof", subject=f"/CN={code}")[0]
        iot.register_ca_certificate(
            caCertificate=self.certificate.read_text(), verificationCertificate=proof.read_text(), setAsActive=True,
            allowAutoRegistration=True, registrationConfig={"templateName": "plant-a"})
        return self


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("authorities")


@pytest.fixture(scope="module")
def authority(factory, directory, broker):
    """A CA that is registered beside the usual one, with its template."""
    return Authority(directory, "Any kind CA", EC["P-256"]).register(broker)


@pytest.fixture(scope="module")
def rsa_authority(factory, directory, broker):
    """Of those that OpenSSL lets sign with MD5."""
    return Authority(directory, "RSA signs anything CA", RSA["RSA-2048"]).register(broker)


def context(broker, device, version=None):
    made = ssl.create_default_context(cafile=str(broker.ca))
    # OpenSSL's own default would not even load a certificate that the broker is to refuse.
    made.set_ciphers("DEFAULT@SECLEVEL=0")
    made.load_cert_chain(*device[:2])
    if version:
        made.minimum_version = made.maximum_version = version
    return made


def connect_packet(client_id, level=4):
    body = b"\0\4MQTT" + bytes([level, 2, 0, 60]) + (b"\0" if level == 5 else b"") + bytes([0, len(client_id)]) + client_id.encode()
    return bytes([0x10, len(body)]) + body


def greet(broker, device, client_id, version=None, made=None, session=None):
    """CONNACK's return code (`None`: closed without one), and the TLS session."""
    made = made or context(broker, device, version)
    with socket.create_connection(("127.0.0.1", broker.port), PATIENCE) as tcp:
        try:
            with made.wrap_socket(tcp, server_hostname="localhost", session=session) as tls:
                assert version is None or tls.version() == version.name.replace("_", ".")
                assert session is None or tls.session_reused
                tls.sendall(connect_packet(client_id))
                connack = tls.recv(4)
                assert not connack or (connack[0] == 0x20 and len(connack) == 4), connack
                return (connack[3] if connack else None), tls.session
        except (ssl.SSLError, ConnectionError):
            return None, None


def refused_for(broker, reason, says="", **who):
    """The attempt; refusals are written to the log a moment after the answer."""
    return wait_for(lambda: [a for a in broker.attempts(reason=reason, **who) if says in a["message"]], f"{reason} of {who}")[0]


@pytest.mark.parametrize("kind", [*EC, *RSA, *PSS_KEY])
def test_a_device_of_every_kind_of_key_is_provisioned_with_both_versions_of_tls(broker, authority, kind):
    for version in VERSIONS:
        if kind == "RSA-PSS" and version is not ssl.TLSVersion.TLSv1_3:
            continue  # `spec/jitp.md` section 8: TLS 1.3 only
        name = f"{kind}-{version.name}"
        device = authority.device(name, {**EC, **RSA, **PSS_KEY}[kind])
        assert greet(broker, device, name, version)[0] == 0
        assert broker.iot().describe_thing(thingName=name)["attributes"] == {"line": "line-7"}


@pytest.mark.parametrize("name, key, signature", [
    ("P-384 CA", EC["P-384"], ("-sha384",)),
    ("P-521 CA", EC["P-521"], ("-sha512",)),
    ("RSA CA", RSA["RSA-2048"], ("-sha256",)),
    ("RSA CA that signs with PSS", RSA["RSA-2048"], ("-sha384", *PSS_SIGNATURE)),
    ("RSA-PSS CA", PSS_KEY["RSA-PSS"], ("-sha256", "-sigopt", "rsa_pss_saltlen:digest")),
])
def test_a_ca_of_every_kind_of_key_provisions(broker, factory, directory, name, key, signature):
    ca = Authority(directory, name, key, *signature).register(broker)
    client_id = name.replace(" ", "-")
    assert greet(broker, ca.device(client_id), client_id)[0] == 0
    assert broker.attempts(client_id=client_id)[0]["caCertificateId"] == certificate_id(ca.certificate)


@pytest.mark.parametrize("name, key, signature, says", [
    ("md5", EC["P-256"], "-md5", "md5WithRSAEncryption"),
    ("sha-1", EC["P-256"], "-sha1", "sha1WithRSAEncryption"),
    ("rsa-1024", ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"), "-sha256", "RSA key of 1024 bits"),
])
def test_weak_algorithms_are_refused_by_name(broker, rsa_authority, name, key, signature, says):
    device = rsa_authority.device(name, key, signature)
    answers = {greet(broker, device, name, version)[0] for version in VERSIONS}
    # A weak key cannot even prove itself: its handshake fails, before there is a client id.
    at_the_handshake = name == "rsa-1024"
    assert answers == ({None} if at_the_handshake else {5})
    who = {} if at_the_handshake else {"client_id": name}
    attempt = refused_for(broker, "DEVICE_CERTIFICATE_ALGORITHM_REFUSED", says, **who)
    assert attempt["outcome"] == "refused"
    with pytest.raises(broker.iot().exceptions.ResourceNotFoundException):
        broker.iot().describe_certificate(certificateId=certificate_id(device[0]))


def test_a_subject_in_any_string_type_and_with_repeated_attributes_gives_its_first_value(broker, authority, directory):
    for mask, kind in (("MASK:0x2", "printable"), ("MASK:0x4", "teletex"), ("MASK:0x800", "bmp"), ("MASK:0x2000", "utf8")):
        config = directory / f"{kind}.cnf"
        config.write_text(f"[req]\ndistinguished_name=dn\nstring_mask={mask}\nprompt=no\n[dn]\n0.OU=line-7\n1.OU=line-8\n"
                          f"CN={kind}\n")
        stem = directory / kind
        openssl("genpkey", *EC["P-256"], "-out", stem.with_suffix(".key"))
        openssl("req", "-new", "-config", config, "-key", stem.with_suffix(".key"), "-out", stem.with_suffix(".csr"))
        openssl("x509", "-req", "-in", stem.with_suffix(".csr"), "-CA", authority.certificate, "-CAkey", authority.key,
                "-CAcreateserial", "-days", "30", "-out", stem.with_suffix(".pem"))
        assert greet(broker, (stem.with_suffix(".pem"), stem.with_suffix(".key")), kind)[0] == 0
        assert broker.iot().describe_thing(thingName=kind)["attributes"] == {"line": "line-7"}


def test_a_ca_with_the_name_of_a_registered_one_provisions_nobody(broker, authority, tmp_path):
    impostor = Authority(tmp_path, "Any kind CA", EC["P-256"])
    device = impostor.device("forged")
    assert greet(broker, device, "forged")[0] == 5
    refused_for(broker, "ISSUER_SIGNATURE_MISMATCH", client_id="forged")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_versions_of_tls_before_1_2_are_refused(broker, authority):
    device = authority.device("ancient")
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        assert greet(broker, device, "ancient", version) == (None, None)
    assert not broker.attempts(client_id="ancient")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_resumed_session_gets_no_further_than_its_certificate_does_now(broker, authority, version):
    name = f"resumed-{version.name}"
    device = authority.device(name)
    made = context(broker, device, version)
    answer, session = greet(broker, device, name, version, made)
    assert answer == 0
    assert greet(broker, device, name, version, made, session)[0] == 0
    broker.iot().update_certificate(certificateId=certificate_id(device[0]), newStatus="INACTIVE")
    answer, session = greet(broker, device, name, version, made, session)
    assert answer == 5
    refused_for(broker, "DEVICE_CERTIFICATE_INACTIVE", client_id=name)
    broker.iot().update_certificate(certificateId=certificate_id(device[0]), newStatus="ACTIVE")
    assert greet(broker, device, name, version, made, session)[0] == 0


def test_a_handshake_alone_registers_nothing(broker, authority):
    device = authority.device("scanner")
    with socket.create_connection(("127.0.0.1", broker.port), PATIENCE) as tcp, \
            context(broker, device).wrap_socket(tcp, server_hostname="localhost") as tls:
        tls.sendall(b"\xc0\0")
        assert tls.recv(1) == b""
    with pytest.raises(broker.iot().exceptions.ResourceNotFoundException):
        broker.iot().describe_certificate(certificateId=certificate_id(device[0]))
