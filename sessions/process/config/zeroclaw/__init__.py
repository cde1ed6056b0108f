"""ZeroClaw's dialect: its file, read as ZeroClaw reads it, as far as it is about what we do.

    environment -> upstream (what the file says) -> agents, channels, gateway -> a document of ours

What can be served is translated. What would be served more openly than ZeroClaw does is turned off
or refused. Everything else is named as having no effect.
"""
