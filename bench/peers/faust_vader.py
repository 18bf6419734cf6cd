"""Faust as it comes, the obvious build: one message at a time, VADER, py3langid, `topic.send`."""

import json
import os
import sys

import faust
from py3langid.langid import MODEL_FILE, LanguageIdentifier
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

SERVERS, SOURCE, OUT, GROUP = (os.environ[f"BENCH_{name}"] for name in ("SERVERS", "IN", "OUT", "GROUP"))
app = faust.App(
    GROUP,
    broker=f"kafka://{SERVERS}",
    consumer_auto_offset_reset="earliest",
    store="memory://",
    topic_disable_leader=True,
    web_enabled=False,
    value_serializer="raw",
)
analyser = SentimentIntensityAnalyzer()
identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
identifier.set_languages(["nl", "en", "de", "fr"])
out = app.topic(OUT, value_serializer="raw")


@app.agent(app.topic(SOURCE, value_serializer="raw"))
async def label(stream):
    """Label each message and send it on."""
    async for value in stream:
        mention = json.loads(value)
        mention["language"] = identifier.classify(mention["text"])[0]
        mention["sentiment"] = analyser.polarity_scores(mention["text"])["compound"]
        await out.send(value=json.dumps(mention).encode())


sys.argv = [sys.argv[0], "worker", "-l", "error", "--without-web"]
app.main()
