"""Google's official client against the sandbox, with nothing changed but the endpoint.

The client uses its bundled discovery document. The flow is that of Google's how-it-works guide,
then every other method. SANDBOX_URL names the endpoint; the sandbox must be fresh, with short
operations. Run it with plain Python: it stops at the first thing that is wrong.
"""

import json
import os
import time
import urllib.request

from google.auth.credentials import AnonymousCredentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

URL = os.environ["SANDBOX_URL"].rstrip("/")
PARTNER = "1234567"
VENDOR = "7654321"
ZERO_TOUCH = "SECTION_TYPE_ZERO_TOUCH"


def luhn_complete(fourteen_digits):
    total = 0
    for place, char in enumerate(reversed(fourteen_digits)):
        digit = int(char) * (2 if place % 2 == 0 else 1)
        total += digit - 9 if digit > 9 else digit
    return fourteen_digits + str(-total % 10)


IMEIS = [luhn_complete(f"3569380356{n:04}") for n in range(6)]


def control(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{URL}/control/{path}", data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


def connect():
    return build(
        "androiddeviceprovisioning",
        "v1",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": URL},
        static_discovery=True,
    )


def wait_for(service, operation, deadline=60.0):
    """The guide's loop; only its clamp of 2 to 10 seconds is shorter here."""
    assert set(operation) == {"name"}, operation
    assert operation["name"].startswith("operations/apibatchoperation/"), operation
    started = time.monotonic()
    states = []
    while True:
        operation = service.operations().get(name=operation["name"]).execute()
        if operation.get("done"):
            return operation, states
        metadata = operation.get("metadata", {})
        states.append(metadata.get("processingStatus"))
        progress = metadata.get("progress", 0)
        assert 0 <= progress <= 100, operation
        elapsed = time.monotonic() - started
        assert elapsed < deadline, "the operation does not end"
        wait = elapsed * (100 - progress) / progress if progress else 0.05
        time.sleep(min(max(wait, 0.05), 0.25))


def failure_of(request):
    try:
        request.execute()
    except HttpError as error:
        return error
    raise AssertionError("the call should have failed")


def create_and_list_customers(service):
    customers = service.partners().customers()
    body = {
        "customer": {
            "companyName": "XYZ Corp",
            "ownerEmails": ["liz@example.com", "darcy@example.com"],
            "adminEmails": ["jane@example.com"],
        }
    }
    created = customers.create(parent=f"partners/{PARTNER}", body=body).execute()
    assert created["name"].endswith(f"customers/{created['companyId']}"), created
    assert isinstance(created["companyId"], str)
    second = {"customer": {"companyName": "Other", "ownerEmails": ["bingley@example.com"]}}
    other = customers.create(parent=f"partners/{PARTNER}", body=second).execute()

    request = customers.list(partnerId=PARTNER, pageSize=1)
    names = []
    while request is not None:
        reply = request.execute()
        assert reply["totalSize"] == 2, reply
        names += [customer["companyName"] for customer in reply["customers"]]
        request = customers.list_next(request, reply)
    assert sorted(names) == ["Other", "XYZ Corp"], names

    error = failure_of(customers.create(parent=f"partners/{PARTNER}", body={"customer": {}}))
    assert error.resp.status == 400 and "companyName" in error.reason, error
    return created["companyId"], other["companyId"]


def claim(imei, customer, order):
    return {
        "customerId": customer,
        "sectionType": ZERO_TOUCH,
        "deviceIdentifier": {"imei": imei, "manufacturer": "Google"},
        "deviceMetadata": {"entries": {"ordernumber": order, "phonenumber": "5551212"}},
    }


def claim_a_batch(service, customer):
    claims = [claim(imei, customer, f"A-{n}") for n, imei in enumerate(IMEIS[:3])]
    claims.append(claim("490154203237510", customer, "A-3"))  # a wrong check digit
    devices = service.partners().devices()
    operation = devices.claimAsync(partnerId=PARTNER, body={"claims": claims}).execute()
    operation, states = wait_for(service, operation)

    assert "BATCH_PROCESS_IN_PROGRESS" in states, states
    assert operation["metadata"]["processingStatus"] == "BATCH_PROCESS_PROCESSED", operation
    assert operation["metadata"]["devicesCount"] == 4, operation
    assert operation["metadata"]["progress"] == 100, operation
    response = operation["response"]
    assert response["@type"].endswith(".DevicesLongRunningOperationResponse"), response
    assert response["successCount"] == 3, response
    assert len(response["perDeviceStatus"]) == 4, response
    ids = []
    for sent, entry in zip(claims, response["perDeviceStatus"]):
        assert entry["claim"] == sent, entry
        if entry["result"]["status"] == "SINGLE_DEVICE_STATUS_SUCCESS":
            assert isinstance(entry["result"]["deviceId"], str)
            ids.append(entry["result"]["deviceId"])
    bad = response["perDeviceStatus"][3]["result"]
    assert bad["status"] == "SINGLE_DEVICE_STATUS_INVALID_DEVICE_IDENTIFIER", bad
    assert bad["errorIdentifier"] == "INVALID_IMEI" and bad["errorMessage"], bad
    assert "error" not in operation
    return ids


def look_up(service, customer, ids):
    devices = service.partners().devices()
    body = {"deviceIdentifier": {"imei": IMEIS[0]}, "limit": "1"}
    found = devices.findByIdentifier(partnerId=PARTNER, body=body).execute()
    assert found["totalSize"] == 1 and "nextPageToken" not in found, found
    device = found["devices"][0]
    assert device["deviceId"] == ids[0], device
    assert device["name"] == f"partners/{PARTNER}/devices/{ids[0]}", device
    assert device["deviceMetadata"]["entries"]["ordernumber"] == "A-0", device
    assert device["claims"] == [
        {"ownerCompanyId": customer, "resellerId": PARTNER, "sectionType": ZERO_TOUCH}
    ], device

    seen, token = [], None
    while True:
        body = {"customerId": [customer], "limit": 2, "sectionType": ZERO_TOUCH}
        if token:
            body["pageToken"] = token
        page = devices.findByOwner(partnerId=PARTNER, body=body).execute()
        assert page["totalSize"] == 3, page
        seen += [device["deviceId"] for device in page["devices"]]
        token = page.get("nextPageToken")
        if not token:
            break
    assert sorted(seen) == sorted(ids), seen

    name = f"partners/{PARTNER}/devices/{ids[1]}"
    assert devices.get(name=name).execute()["deviceIdentifier"]["imei"] == IMEIS[1]
    error = failure_of(devices.findByOwner(partnerId=PARTNER, body={"customerId": [customer]}))
    assert error.resp.status == 400, error


def change_metadata(service, ids):
    devices = service.partners().devices()
    body = {"deviceMetadata": {"entries": {"ordernumber": "B-0", "phonenumber": ""}}}
    changed = devices.metadata(metadataOwnerId=PARTNER, deviceId=ids[0], body=body).execute()
    assert changed == {"entries": {"ordernumber": "B-0"}}, changed

    updates = [
        {"deviceId": ids[1], "deviceMetadata": {"entries": {"ordernumber": "B-1"}}},
        {
            "deviceIdentifier": {"imei": IMEIS[2]},
            "deviceMetadata": {"entries": {"ordernumber": "B-2"}},
        },
    ]
    call = devices.updateMetadataAsync(partnerId=PARTNER, body={"updates": updates})
    operation, _ = wait_for(service, call.execute())
    response = operation["response"]
    assert response["successCount"] == 2, response
    assert [entry["updateMetadata"] for entry in response["perDeviceStatus"]] == updates
    name = f"partners/{PARTNER}/devices/{ids[1]}"
    entries = devices.get(name=name).execute()["deviceMetadata"]["entries"]
    assert entries == {"ordernumber": "B-1", "phonenumber": "5551212"}, entries


def unclaim_a_batch(service, ids):
    devices = service.partners().devices()
    unclaims = [
        {"deviceId": ids[0], "sectionType": ZERO_TOUCH},
        {"deviceIdentifier": {"imei": IMEIS[1]}, "sectionType": ZERO_TOUCH},
        {"deviceIdentifier": {"imei": IMEIS[5]}, "sectionType": ZERO_TOUCH},  # never claimed
    ]
    call = devices.unclaimAsync(partnerId=PARTNER, body={"unclaims": unclaims})
    operation, _ = wait_for(service, call.execute())
    response = operation["response"]
    assert response["successCount"] == 2, response
    statuses = [entry["result"]["status"] for entry in response["perDeviceStatus"]]
    assert statuses == [
        "SINGLE_DEVICE_STATUS_SUCCESS",
        "SINGLE_DEVICE_STATUS_SUCCESS",
        "SINGLE_DEVICE_STATUS_OTHER_ERROR",
    ], statuses
    assert [entry["unclaim"] for entry in response["perDeviceStatus"]] == unclaims


def one_at_a_time(service, customer, other):
    devices = service.partners().devices()
    body = claim(IMEIS[3], customer, "C-1")
    claimed = devices.claim(partnerId=PARTNER, body=body).execute()
    name = f"partners/{PARTNER}/devices/{claimed['deviceId']}"
    assert claimed["deviceName"] == name, claimed

    error = failure_of(devices.claim(partnerId=PARTNER, body=claim(IMEIS[3], other, "C-2")))
    assert error.resp.status == 400, error
    assert json.loads(error.content)["error"]["status"] == "FAILED_PRECONDITION", error.content

    error = failure_of(devices.claim(partnerId="999", body=claim(IMEIS[3], customer, "C-3")))
    assert error.resp.status in (400, 403), error

    body = {"deviceId": claimed["deviceId"], "sectionType": ZERO_TOUCH}
    assert devices.unclaim(partnerId=PARTNER, body=body).execute() == {}


def list_vendors(service):
    vendors = service.partners().vendors()
    reply = vendors.list(parent=f"partners/{PARTNER}", pageSize=10).execute()
    listed = reply.get("vendors", [])
    for vendor in listed:
        customers = vendors.customers().list(parent=vendor["name"]).execute()
        assert "totalSize" in customers or customers == {}, customers
    unknown = f"partners/{PARTNER}/vendors/{VENDOR}9"
    error = failure_of(vendors.customers().list(parent=unknown))
    assert error.resp.status == 404, error
    return [vendor["companyId"] for vendor in listed]


def errors_parse(service):
    error = failure_of(service.operations().get(name="operations/apibatchoperation/1"))
    assert error.resp.status == 404 and error.reason, error
    assert json.loads(error.content)["error"]["status"] == "NOT_FOUND", error.content

    request = service.operations().get(name="operations/apibatchoperation/1", x__xgafv="2")
    detail = failure_of(request).error_details[0]
    assert detail["@type"].endswith(".CustomError"), detail
    assert detail["code"] == "INVALID_OPERATION_ID", detail

    fault = {"kind": "status", "http": 429, "retryAfter": 7}
    control("faults", {"rules": [{"method": "customers.list", "times": 1, "fault": fault}]})
    error = failure_of(service.partners().customers().list(partnerId=PARTNER))
    assert error.resp.status == 429 and error.resp["retry-after"] == "7", error.resp
    assert json.loads(error.content)["error"]["status"] == "RESOURCE_EXHAUSTED", error.content
    service.partners().customers().list(partnerId=PARTNER).execute()


def the_log_is_complete():
    changes = control(f"log?device=imei:{IMEIS[0]}")
    assert changes["dropped"] == 0
    methods = [change["method"] for change in changes["entries"]]
    assert methods == ["claimAsync", "metadata", "unclaimAsync"], methods
    assert control("stats")["deviceInFlightMax"] == 1
    served = set(control("stats")["calls"])
    missing = {
        "claim", "claimAsync", "unclaim", "unclaimAsync", "updateMetadataAsync", "metadata",
        "findByIdentifier", "findByOwner", "devices.get", "customers.create", "customers.list",
        "vendors.list", "vendors.customers.list", "operations.get",
    } - served  # fmt: skip
    assert not missing, missing


def test_googles_client():
    service = connect()
    customer, other = create_and_list_customers(service)
    ids = claim_a_batch(service, customer)
    assert len(set(ids)) == 3, ids
    look_up(service, customer, ids)
    change_metadata(service, ids)
    unclaim_a_batch(service, ids)
    one_at_a_time(service, customer, other)
    vendors = list_vendors(service)
    expected = os.environ.get("SANDBOX_VENDORS")
    assert expected is None or vendors == expected.split(","), vendors
    errors_parse(service)
    the_log_is_complete()


if __name__ == "__main__":
    test_googles_client()
    print("ok: Google's client works against the sandbox")
