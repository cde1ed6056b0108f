"""Slack, by Slack's own client library slack-sdk, which is an extra."""
