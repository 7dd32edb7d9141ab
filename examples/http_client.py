"""Ask a running `edgepose serve` for the poses in a photo, with Python's own library.

python examples/http_client.py http://127.0.0.1:8000 photo.jpg
"""

import json
import sys
import urllib.request
from pathlib import Path

address, photo = sys.argv[1:]
request = urllib.request.Request(f"{address}/pose", data=Path(photo).read_bytes(), headers={"Content-Type": "image/jpeg"})
with urllib.request.urlopen(request, timeout=30) as answer:
    found = json.load(answer)
print(found["looked_for"])
for person in found["people"]:
    print(person["box_xyxy"], {name: [x, y] for name, (x, y, score) in person["keypoints"].items() if score > 0.3})
