"""Turnstream as processes of their own, for tests, bench and proof. It imports none of these.

    async with SystemUnderTest.running(folder) as system:  # a Redis, and nothing else yet
        worker = await system.worker()
        api = await system.web_service("api")

    with Up.running(workspace) as up:                        # `turnstream up`
        ...

Everything that was started ends with its block, however that ends.
"""
