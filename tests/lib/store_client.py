"""One signed request to an object store, by nothing but Python's own library: how tests look into a store, and set one
up, without the code they test.

    STORE_KEY=… STORE_SECRET=… store_client.py s3|sts|azure ENDPOINT METHOD PATH [FILE] [name: value]…
    STORE_KEY=… STORE_SECRET=… store_client.py sas CONTAINER|"" PERMISSIONS SECONDS    prints a SAS token

A SAS is that of a container, or of the account; SECONDS may be negative: one that has ended.

PATH may have a query. FILE ("-": none) is the body; "name: value" are headers. The body of the answer is printed, for
HEAD its headers; an error status ends with 22, and says the status. The server's certificate is not checked.
"""
import base64
import email.utils
import hashlib
import hmac
import http.client
import os
import ssl
import sys
import time
from urllib.parse import parse_qsl, quote, unquote, urlsplit

KEY, SECRET = os.environ["STORE_KEY"], os.environ["STORE_SECRET"]


def sign_s3(method, url, headers, body, service="s3"):
    now = time.gmtime()
    day, moment = time.strftime("%Y%m%d", now), time.strftime("%Y%m%dT%H%M%SZ", now)
    headers["x-amz-date"] = moment
    headers["x-amz-content-sha256"] = hashlib.sha256(body).hexdigest()
    query = "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in
                     sorted(parse_qsl(url.query, keep_blank_values=True)))
    names = sorted(headers)
    canonical = "\n".join([method, quote(unquote(url.path), safe="/-_.~"), query,
                           *(f"{n}:{headers[n].strip()}" for n in names), "", ";".join(names),
                           headers["x-amz-content-sha256"]])
    scope = f"{day}/us-east-1/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + SECRET).encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={';'.join(names)}, "
                                f"Signature={hmac.digest(key, text.encode(), 'sha256').hex()}")
    return url.path + ("?" + query if query else "")


def sign_azure(method, url, headers, body):
    headers["x-ms-date"] = email.utils.formatdate(usegmt=True)
    headers.setdefault("x-ms-version", "2021-08-06")
    if method == "PUT" and "comp=" not in url.query and "restype=" not in url.query:
        headers.setdefault("x-ms-blob-type", "BlockBlob")
    lines = [method] + [headers.get(n, "") for n in ("content-encoding", "content-language")]
    lines += [str(len(body)) if body else ""]
    lines += [headers.get(n, "") for n in ("content-md5", "content-type")] + [""]
    lines += [headers.get(n, "") for n in ("if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range")]
    lines += [f"{n}:{headers[n]}" for n in sorted(headers) if n.startswith("x-ms-")]
    lines += [f"/{KEY}{url.path}"] + [f"{k.lower()}:{v}" for k, v in sorted(parse_qsl(url.query, keep_blank_values=True))]
    signature = hmac.digest(base64.b64decode(SECRET), "\n".join(lines).encode(), "sha256")
    headers["authorization"] = f"SharedKey {KEY}:{base64.b64encode(signature).decode()}"
    return url.path + ("?" + url.query if url.query else "")


def make_sas(container, permissions, seconds):
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + int(seconds)))
    version = "2018-11-09"
    fields = {"sp": permissions, "se": ends, "spr": "https,http", "sv": version}
    if container:
        fields["sr"] = "c"
        lines = [permissions, "", ends, f"/blob/{KEY}/{container}", "", "", fields["spr"], version, "c", "", "", "", "", "", ""]
    else:
        fields |= {"ss": "b", "srt": "sco"}
        lines = [KEY, permissions, "b", "sco", "", ends, "", fields["spr"], version, ""]
    signature = hmac.digest(base64.b64decode(SECRET), "\n".join(lines).encode(), "sha256")
    fields["sig"] = base64.b64encode(signature).decode()
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in fields.items())


def main():
    if sys.argv[1] == "sas":
        print(make_sas(*sys.argv[2:]))
        return
    kind, endpoint, method, path, *rest = sys.argv[1:]
    url = urlsplit(endpoint + path)
    headers, body = {"host": url.netloc}, b""
    for word in rest:
        if ": " in word:
            name, value = word.split(": ", 1)
            headers[name.lower()] = value
        elif word != "-":
            with open(word, "rb") as file:
                body = file.read()
    if kind == "azure":
        target = sign_azure(method, url, headers, body)
    else:
        target = sign_s3(method, url, headers, body, kind)
    headers["content-length"] = str(len(body))
    if url.scheme == "https":
        connection = http.client.HTTPSConnection(url.netloc, timeout=60, context=ssl._create_unverified_context())
    else:
        connection = http.client.HTTPConnection(url.netloc, timeout=60)
    connection.request(method, target, body, headers)
    answer = connection.getresponse()
    got = answer.read()
    if method == "HEAD":
        got = "".join(f"{n.lower()}: {v}\n" for n, v in answer.getheaders()).encode()
    sys.stdout.buffer.write(got)
    sys.stdout.flush()
    if answer.status >= 300:
        print(f"{method} {path}: {answer.status} {answer.reason}", file=sys.stderr)
        sys.exit(22)


main()
