import time, trio, math
from web_fakes import *
from oht50d.web.app import create_app
async def test_x(autojump_clock):
    house = FakeHouse()
    t=time.time()
    async with create_app(house.ports).test_client().websocket(f"/ws?token={house.token('ops')}") as socket:
        await socket.receive_json()
        print(trio.current_time(), time.time()-t)
        await trio.sleep(5)
        print(trio.current_time(), time.time()-t)
async def test_y(autojump_clock):
    t=time.time()
    async def tick():
        n=0
        while True:
            tick = math.floor(trio.current_time() / 0.1) + 1
            n+=1
            if n<8: print(repr(trio.current_time()), tick*0.1, time.time()-t)
            await trio.sleep_until(tick * 0.1)
    async with trio.open_nursery() as n:
        n.start_soon(tick)
        await trio.sleep(5)
        print(trio.current_time(), time.time()-t)
        n.cancel_scope.cancel()
