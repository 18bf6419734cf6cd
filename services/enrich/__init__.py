"""The enrich service: labels mentions: language, sentiment, #fail, question, topics, stage."""
