"""The api service: answers with time series and mentions, and shows the page."""
