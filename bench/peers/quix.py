"""Quix Streams: with VADER and py3langid, or (BENCH_WORK=none) passing each message on as it is."""

import os

from py3langid.langid import MODEL_FILE, LanguageIdentifier
from quixstreams import Application
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

SERVERS, SOURCE, OUT, GROUP = (os.environ[f"BENCH_{name}"] for name in ("SERVERS", "IN", "OUT", "GROUP"))
app = Application(
    broker_address=SERVERS,
    consumer_group=GROUP,
    auto_offset_reset="earliest",
    loglevel="ERROR",
    auto_create_topics=False,
)
stream = app.dataframe(app.topic(SOURCE, value_deserializer="json"))
if os.environ["BENCH_WORK"] != "none":
    analyser = SentimentIntensityAnalyzer()
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(["nl", "en", "de", "fr"])

    def label(mention):
        """Label one mention."""
        mention["language"] = identifier.classify(mention["text"])[0]
        mention["sentiment"] = analyser.polarity_scores(mention["text"])["compound"]
        return mention

    stream = stream.apply(label)
stream.to_topic(app.topic(OUT, value_serializer="json"))
app.run()
