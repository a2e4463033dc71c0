"""What is run on the client machine, which has Python and nothing of ours: it asks the balancer and counts."""

from __future__ import annotations

# Asks one after another; prints how many answers each worker gave.
COUNT = """
import collections, json, sys, urllib.request
url, number = sys.argv[1], int(sys.argv[2])
body = open("/tmp/cat.jpg", "rb").read()
found = collections.Counter()
for _ in range(number):
    request = urllib.request.Request(url + "/predict?top=1", body, {"Content-Type": "image/jpeg"})
    found[json.load(urllib.request.urlopen(request, timeout=60))["worker"]] += 1
print(json.dumps(found))
"""

# Sends at a fixed rate, whatever comes back and whoever signed the certificate, until the stop file is there and as
# many as are wanted were sent; prints how many ended in which way.
LOAD = """
import collections, json, os, ssl, sys, threading, time, urllib.error, urllib.request
ssl._create_default_https_context = ssl._create_unverified_context
url, rate, stop, wanted = sys.argv[1], float(sys.argv[2]), sys.argv[3], int(sys.argv[4])
body = open("/tmp/cat.jpg", "rb").read()
found, lock = collections.Counter(), threading.Lock()

def ask():
    request = urllib.request.Request(url + "/predict?top=1", body, {"Content-Type": "image/jpeg"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            json.load(answer)
            word = str(answer.status)
    except urllib.error.HTTPError as error:
        word = str(error.code)
    except Exception as error:
        word = repr(error)
    with lock:
        found[word] += 1

threads, start = [], time.monotonic()
while len(threads) < wanted or (not os.path.exists(stop) and len(threads) < rate * 600):
    thread = threading.Thread(target=ask)
    thread.start()
    threads.append(thread)
    time.sleep(max(0.0, start + len(threads) / rate - time.monotonic()))
for thread in threads:
    thread.join()
print(json.dumps(found))
"""
