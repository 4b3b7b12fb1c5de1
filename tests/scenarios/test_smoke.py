import time
def test_x(place, host):
    (place.work/"a.txt").write_text("a\n")
    w=place.workflow('''
  - {id: w, capability: fs.write_text@1, with: {path: b.txt, text: "x"}}
  - {id: f, capability: flow.fail@1, needs: [w]}
''')
    t=time.time()
    with place.open() as rt:
        print("open", time.time()-t, rt.deployment.refused, rt.deployment.failure, rt.deployment.trust); t=time.time()
        print(rt.run(w)); print("run", time.time()-t); t=time.time()
    print("close", time.time()-t); t=time.time()
    print(host.run("work", place, workflow=str(w), inputs={}, armed=True), time.time()-t)
    print(host.said(place))
    print(place.tree(), place.proof())
    assert 0
