import socket,struct,sys,time,os
s=socket.socket(socket.AF_UNIX); s.connect(os.environ['XDG_RUNTIME_DIR']+'/pipewire-0')
seq=0
def pod(t,b): 
    p=struct.pack('=II',len(b),t)+b
    return p+b'\0'*(-len(p)%8)
I=lambda v: pod(4,struct.pack('=i',v))
S=lambda v: pod(1,b'') if v is None else pod(8,v.encode()+b'\0')
T=lambda *a: pod(14,b''.join(a))
def call(i,o,*a):
    global seq
    b=T(*a); s.sendall(struct.pack('=IIII',i,o<<24|len(b),seq,0)+b); seq+=1
out=open(sys.argv[1],'wb'); buf=b''
def msgs(until,stop=lambda m:False):
    global buf
    s.settimeout(0.05)
    while time.time()<until:
        while len(buf)>=16:
            i,w,q,n=struct.unpack('=IIII',buf[:16]); l=w&0xffffff
            if len(buf)<16+l: break
            m=(i,w>>24,buf[16:16+l]); out.write(buf[:16+l]); buf=buf[16+l:]
            yield m
            if stop(m): return
        try: 
            d=s.recv(65536)
        except socket.timeout: continue
        if not d: return
        buf+=d
n=0
def sync():
    global n; n+=1; call(0,2,I(0),I(n)); got=[]
    for m in msgs(time.time()+3,lambda m: m[0]==0 and m[1]==1 and m[2]==T(I(0),I(n))): got.append(m)
    print('sync',n,[(a,b,len(c)) for a,b,c in got][:60]); return got
call(0,1,I(3)); call(1,2,T(I(1),S('application.name'),S('capture'))); call(0,5,I(3),I(2))
g=sync()
def find(iface,key=None):
    for i,o,b in g:
        if i==2 and o==0 and iface in b and (key is None or key in b): return struct.unpack('=i',b[16:20])[0]
meta=find(b'Interface:Metadata',b'settings\0'); prof=find(b'Interface:Profiler'); node=find(b'Interface:Node',b'test-sink')
print('ids',meta,prof,node)
call(2,1,I(meta),S('PipeWire:Interface:Metadata'),I(3),I(3)); sync()
call(3,1,I(0),S('clock.force-quantum'),S(None),S('64')); sync(); time.sleep(0.3)
call(2,1,I(node),S('PipeWire:Interface:Node'),I(3),I(4)); sync()
call(2,1,I(prof),S('PipeWire:Interface:Profiler'),I(3),I(5)); 
ms=[(a,b,len(c)) for a,b,c in msgs(time.time()+float(sys.argv[2]))]; print(len(ms),ms[:20])
call(0,7,I(5)); call(3,1,I(0),S('clock.force-quantum'),S(None),None and S('') or S('0')); sync()
call(2,1,I(99999),S('PipeWire:Interface:Node'),I(3),I(6)); sync()
